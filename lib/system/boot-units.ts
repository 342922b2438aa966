import type { DropIn } from '../host/drop-ins.ts'
import type { Reader } from '../host/reader.ts'
import type { BootStep } from './boot.ts'
import { BOOT_SCRIPT } from './boot-script.ts'
import { bootScriptStep, causeAt, causeWhere, namedScripts, textFiles, unknownScript } from './boot-steps.ts'

// What units of systemd do to drivers, in an image or on the root file system. Source: systemd.unit(5), bootup(7).

const ETC = '/etc/systemd/system'
const NAME = 'vfio-scripts.service'
const WANTS = [`${ETC}/sysinit.target.wants/${NAME}`, `${ETC}/sysinit.target.d/vfio-scripts.conf`]

/** Returns the step of our unit, which runs the boot script before udev; none where it is not there or not wanted. */
export function bootScriptUnit(files: Reader): BootStep[] {
  const [unit] = textFiles(files, [`${ETC}/${NAME}`])
  const runs = new RegExp(`^ExecStart=.*${BOOT_SCRIPT}`)
  if (unit === undefined || !unit.text.split('\n').some((line) => runs.test(line))) return []
  return WANTS.some((path) => files.exists(path)) ? bootScriptStep(files, causeWhere(unit, runs)) : []
}

/**
 * Returns the steps of other units that are wanted and hand devices to drivers, by themselves or by a program that they
 * start: those before udev, and the rest.
 */
export function unknownUnits(
  files: Reader,
  folders: readonly string[] = [ETC],
): { before: BootStep[]; after: BootStep[] } {
  const names = new Map<string, string>()
  for (const folder of folders)
    for (const target of files.list(folder)?.filter((name) => /\.(wants|requires|upholds)$/.test(name)) ?? [])
      for (const name of files.list(`${folder}/${target}`) ?? [])
        if (name.endsWith('.service') && name !== NAME) names.set(name, `${folder}/${target}/${name}`)
  const units = textFiles(files, [...names.values()])
  const steps = units.map((unit) => ({ unit, steps: unitSteps(files, unit) }))
  const isBefore = ({ text }: DropIn): boolean =>
    /^Before=.*\b(systemd-udevd|systemd-udev-trigger|systemd-modules-load)\b/m.test(text)
  return {
    before: steps.flatMap((one) => (isBefore(one.unit) ? one.steps : [])),
    after: steps.flatMap((one) => (isBefore(one.unit) ? [] : one.steps)),
  }
}

function unitSteps(files: Reader, unit: DropIn): BootStep[] {
  return unit.text.split('\n').flatMap((line, index) => {
    const [, command] = /^Exec\w+=[-@:+!|]*\s*(.*)$/.exec(line) ?? []
    if (command === undefined) return []
    const cause = causeAt(unit.path, index + 1, line)
    return programSteps(files, command).map((step) => ({ ...step, cause }))
  })
}

/** Returns what a command line does to drivers, with the scripts whose paths stand in it, and its own arguments. */
export function programSteps(files: Reader, command: string): BootStep[] {
  const texts = namedScripts(files, command).map(({ path, text }) => ({ path, text: `${text}\n${command}` }))
  return [{ path: '', text: command }, ...texts].flatMap(unknownScript).slice(0, 1)
}
