import { modprobeFiles, parseModprobe } from '../edit/modprobe.ts'
import { wordsIn } from '../edit/word-lists.ts'
import { readDriverOverrides } from '../host/driver-overrides.ts'
import { dropInFolders, readDropIns } from '../host/drop-ins.ts'
import { hasSystemd } from '../host/find-program.ts'
import type { Reader } from '../host/reader.ts'
import type { BootStage, BootStep, LoadStep } from './boot.ts'
import {
  addressesIn,
  bootScriptStep,
  causeAt,
  causeWhere,
  hasBusyboxModprobe,
  listedLoads,
  loadStep,
  modulesLoad,
  scriptSteps,
  textFiles,
  withInstalls,
} from './boot-steps.ts'
import { bootScriptUnit, programSteps, unknownUnits } from './boot-units.ts'
import type { Host } from './system.ts'

// What the root file system does with drivers once it is mounted.

const OPENRC = '/etc/conf.d/modules'

/**
 * Returns the boot from the root file system. With systemd, modules-load.d is loaded beside udev's coldplug; OpenRC loads
 * its lists behind it, runit (Void) before it. Source: bootup(7), systemd-modules-load.service(8); init.d/modules of
 * OpenRC; core-services of void-runit.
 */
export function rootStage({ files }: Host, release: string): BootStage {
  const modprobe = parseModprobe(modprobeFiles(files, release))
  const { before, after } = unknownUnits(files)
  const steps = hasSystemd(files)
    ? [
        ...bootScriptUnit(files),
        ...before,
        coldplug(modulesLoad(files), 'systemd-udev-trigger.service'),
        ...udevRules(files),
        ...overrides(files),
        ...after,
        ...scriptsAt(files, ['/etc/rc.local']),
      ]
    : files.exists('/etc/runit/core-services')
      ? [...modulesLoad(files), coldplug([], '/etc/runit/core-services/02-udev.sh'), ...udevRules(files)]
      : [
          ...openrcScript(files),
          coldplug([], 'udev-trigger'),
          ...udevRules(files),
          ...openrcLoads(files, release),
          ...scriptsAt(
            files,
            (files.list('/etc/local.d') ?? [])
              .filter((name) => name.endsWith('.start'))
              .map((name) => `/etc/local.d/${name}`),
          ),
        ]
  return {
    modprobe,
    busybox: hasBusyboxModprobe(files),
    modules: null,
    ...(hasSystemd(files) ? { loadArguments: [{ name: 'modules_load', when: 'beside' }] } : {}),
    steps: withInstalls(files, modprobe, steps),
  }
}

function coldplug(beside: readonly LoadStep[], cause: string): BootStep {
  return { kind: 'coldplug', beside, cause }
}

function scriptsAt(files: Reader, paths: readonly string[]): BootStep[] {
  const run = textFiles(files, paths).filter(({ path }) => ((files.access(path)?.mode ?? 0) & 0o111) !== 0)
  return run.flatMap((file) => scriptSteps(files, file, false))
}

/** Returns the step of our OpenRC service, which comes before udev; none where nothing wants it. */
function openrcScript(files: Reader): BootStep[] {
  const [service] = textFiles(files, ['/etc/init.d/vfio-scripts'])
  const wanted = ['/etc/rc.conf.d/vfio-scripts.conf', '/etc/runlevels/sysinit/vfio-scripts']
  if (service === undefined || !wanted.some((path) => files.exists(path))) return []
  return bootScriptStep(files, causeWhere(service, /^start\(\)/))
}

/**
 * Returns what OpenRC loads: modules-load.d where its script reads that folder, and the list that is the most special
 * for the kernel (`modules_6_1`), with its options. Alpine's reads /etc/modules.
 */
function openrcLoads(files: Reader, release: string): LoadStep[] {
  const [script] = textFiles(files, ['/etc/init.d/modules'])
  if (script === undefined) return []
  const [config] = textFiles(files, [OPENRC])
  const text = config?.text ?? ''
  const variable = (name: string): string => name.replace(/\W/g, '_')
  const versions = [release]
  for (let rest = release.replace(/-.*/, ''); rest !== ''; rest = rest.replace(/\.?[^.]*$/, '')) versions.push(rest)
  const list = [...versions.map((version) => `modules_${variable(version)}`), 'modules'].find(
    (name) => wordsIn([text], name).length > 0,
  )
  const own = (list === undefined || config === undefined ? [] : wordsIn([text], list)).flatMap((name) => {
    const options = [...versions.map((version) => `_${variable(version)}`), '']
      .map((end) => wordsIn([text], `module_${variable(name)}_args${end}`))
      .find((words) => words.length > 0)
    return loadStep(
      [name, ...(options ?? [])].join(' '),
      true,
      causeWhere(config ?? { path: OPENRC, text }, new RegExp(`^\\s*${list}=`)),
    )
  })
  const ofAlpine = /\/etc\/modules\b(?!-)/.test(script.text) ? textFiles(files, ['/etc/modules']) : []
  return [
    ...ofAlpine.flatMap((file) => listedLoads(file, true)),
    // A word more on a line is dropped.
    ...(script.text.includes('modules-load.d')
      ? readDropIns(files, dropInFolders('modules-load.d')).flatMap((file) => listedLoads(file, true))
      : []
    ).map((step) => ({ ...step, options: '' })),
    ...own,
  ]
}

/** Returns the steps of udev rules that hand devices to drivers, by themselves or by a program. Source: udev(7). */
function udevRules(files: Reader): BootStep[] {
  return readDropIns(files, dropInFolders('udev/rules.d'), /\.rules$/).flatMap(({ path, text }) => {
    if (!/driver_override|RUN|PROGRAM|IMPORT/.test(text)) return []
    return text.split('\n').flatMap((line, index) => {
      if (/^\s*#/.test(line)) return []
      const cause = causeAt(path, index + 1, line)
      if (/ATTR\{(?:[^}]*\/)?driver_override\}\s*=[^=]/.test(line))
        return [{ kind: 'unknown-script' as const, addresses: addressesIn(line), cause }]
      const [, command] = /\bRUN(?:\{program\})?\s*\+?:?=\s*"([^"]*)"/.exec(line) ?? []
      if (command === undefined) return []
      // A name without a folder is one of udev's own.
      const steps = programSteps(files, /^[\w-]/.test(command) ? `/usr/lib/udev/${command}` : command)
      return steps.map((step) => ({
        ...step,
        addresses: [...new Set([...namedBy(step), ...addressesIn(line)])],
        cause,
      }))
    })
  })
}

const namedBy = (step: BootStep): readonly string[] => (step.kind === 'unknown-script' ? step.addresses : [])

/**
 * Returns driverctl's overrides, which a service for each device sets after udev has seen it: it takes the device from
 * whatever has it; `none` leaves it without a driver.
 * Source: 05-driverctl.rules, driverctl@.service and driverctl in driverctl 0.111.
 */
function overrides(files: Reader): BootStep[] {
  return readDriverOverrides(files)
    .filter(({ file }) => file.includes('/pci-'))
    .map(({ file, address, driver }) => ({ kind: 'override', address, driver, cause: causeAt(file, 1, driver) }))
}
