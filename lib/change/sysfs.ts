import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import { runCommand } from './run.ts'

/** The seconds that the kernel may take for a write, and for the ROM of a card: a device may never answer. */
export const SYSFS_SECONDS = 30

/**
 * Writes to sysfs from another process: the write may hang in the kernel, and then that process is left behind. Throws a
 * UserError: `stuck`, `unwritable`.
 */
export async function writeAttribute(path: string, text: string): Promise<void> {
  const argv = ['sh', '-c', 'printf "%s\\n" "$1" >"$2"', 'sh', text, path]
  const { code, output } = await runCommand(argv, { root: '/', seconds: SYSFS_SECONDS })
  if (code === 0) return
  if (code === null)
    throw new UserError(
      'stuck',
      `${path}: no answer after ${SYSFS_SECONDS} s: the driver does not let go, and only a reboot may help`,
    )
  throw new UserError('unwritable', `${path}: ${lastWords(output)}`)
}

/**
 * Reads a ROM between its two writes. All of it is one process, whose trap puts back what was written, whatever ends it
 * and whoever started it. A card in D3 gives ff, so it is kept awake meanwhile.
 */
const READ_ROM = `cd "$1" || exit
control=$(cat power/control 2>/dev/null)
back() {
  printf '0\\n' >rom
  [ -z "$control" ] || printf '%s\\n' "$control" >power/control
}
trap back EXIT
trap 'exit 1' HUP INT TERM
[ -z "$control" ] || printf 'on\\n' >power/control || exit
printf '1\\n' >rom || exit
od -An -v -tx1 rom`

/**
 * Returns the bytes of the ROM of the function whose folder in sysfs this is, of the running machine. Its ROM is enabled
 * and its power management held for as long as that takes, and both are put back in any case. Throws a UserError: `stuck`,
 * `unwritable` (not root), `no-rom` (the kernel finds none in what the card gives).
 * Source: Documentation/PCI/sysfs-pci.rst (rom); Documentation/ABI/testing/sysfs-devices-power (control).
 */
export async function readRomThrough(folder: string, signal?: AbortSignal): Promise<Buffer> {
  const options = { root: '/', seconds: SYSFS_SECONDS, ...(signal === undefined ? {} : { signal }) }
  const { code, stdout, output } = await runCommand(['sh', '-c', READ_ROM, 'sh', folder], options)
  if (signal?.aborted) throw new UserError('interrupted', 'interrupted; the ROM and the power management were put back')
  if (code === null)
    throw new UserError('stuck', `${folder}/rom: no answer after ${SYSFS_SECONDS} s; see the kernel log`)
  const bytes = Buffer.from(stdout.replace(/\s+/g, ''), 'hex')
  if (/cannot (create|open)|Permission denied|Read-only/i.test(output) && bytes.length === 0)
    throw new UserError('unwritable', `${folder}: ${lastWords(output)}; run as root`)
  if (code !== 0 || bytes.length === 0)
    throw new UserError('no-rom', `${folder}/rom: the kernel reads no ROM from it (${lastWords(output) || 'empty'})`)
  return bytes
}

function lastWords(output: string): string {
  return output.trim().split('\n').at(-1)?.split(': ').at(-1) ?? 'cannot be written'
}
