import { UserError } from '../core/error.ts'
import { dropInFolders } from '../host/drop-ins.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'

/** The folder with the record and the log of each guest, which ends with the boot. */
export const RECORDS = '/run/vfio-scripts/hand-over'

/** Has the guest its devices now, or what is left of an attempt to give them to it? */
export function isAway(reader: Reader, guest: string): boolean {
  return reader.exists(`${RECORDS}/${guest}/record`)
}

/** A step of the last start or stop of a guest, in the seconds since the boot. */
export interface LoggedStep {
  seconds: number
  text: string
}

/** Returns the steps of the last time that a guest took its devices, and gave them back; none where it never did. */
export function readSteps(reader: Reader, guest: string): LoggedStep[] {
  const lines = (reader.optionalText(`${RECORDS}/${guest}/log`) ?? '').split('\n')
  return lines.flatMap((line) => {
    const [, seconds, text] = /^(\d+(?:\.\d+)?) (.+)$/.exec(line) ?? []
    return text === undefined ? [] : [{ seconds: Number(seconds), text }]
  })
}

/** Returns why the last start was refused; `undefined`: it was not. */
export function readRefusal(reader: Reader, guest: string): string | undefined {
  return reader.optionalText(`${RECORDS}/${guest}/why`)
}

/** Returns the unit that the display manager is: what display-manager.service leads to. Source: systemd.special(7). */
export function readDisplayManager(files: Reader): string | null {
  const target = files.linkName('/etc/systemd/system/display-manager.service')
  return target?.endsWith('.service') ? target : null
}

/**
 * Returns the whole name of a unit: without an ending it is a service. Throws a UserError with code `no-unit` where no
 * folder of systemd has it.
 */
export function findUnit(files: Reader, option: string, name: string): string {
  const unit = /\.(service|socket|target|timer|mount|path|slice|scope)$/.test(name) ? name : `${name}.service`
  if (!/^[\w@:.\\-]+$/.test(unit)) throw new UserError('usage', `${option} ${name}: not a name of a unit of systemd`)
  const template = unit.replace(/@[^.]*\./, '@.')
  if (
    ![unit, template].some((one) => dropInFolders('systemd/system').some((folder) => files.exists(`${folder}/${one}`)))
  )
    throw new UserError('no-unit', `${option} ${name}: there is no ${unit} on this system (systemctl list-unit-files)`)
  return unit
}

/** Returns the lines of configurations that name a card by a number, which it may lose when it comes back. */
export function readNumberedCards(
  files: Reader,
  functions: readonly PciDevice[],
): { file: string; line: number; text: string }[] {
  if (!functions.some(isDisplay)) return []
  const folder = '/etc/X11/xorg.conf.d'
  const more = (files.list(folder) ?? []).filter((name) => name.endsWith('.conf')).map((name) => `${folder}/${name}`)
  return ['/etc/X11/xorg.conf', ...more, '/etc/environment'].flatMap((file) =>
    (files.optionalText(file) ?? '').split('\n').flatMap((text, index) => {
      const named = /^\s*[^#\s].*\/dev\/dri\/card\d/.test(text)
      return named ? [{ file, line: index + 1, text: text.trim() }] : []
    }),
  )
}

/** Returns the mainboard, and the folders of functions, by which they are known again: addresses change with slots. */
export function readPlaces(
  reader: Reader,
  functions: readonly PciDevice[],
): { board: string | null; places: string[] } {
  const board = reader.optionalText('/sys/class/dmi/id/board_name')?.trim() ?? ''
  const places = functions.map(({ address }) => reader.resolve(`/sys/bus/pci/devices/${address}`) ?? '')
  return { board: /^[ -~]+$/.test(board) ? board : null, places }
}
