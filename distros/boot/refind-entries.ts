import { parseCommandLine } from '../../lib/host/kernel.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { listFolder } from './boot-files.ts'
import { bootsRecovery } from './loader-entries.ts'
import { toMenuEntry } from './menu-entries.ts'

/** The file of the kernel arguments, beside the kernels. */
export const REFIND_LINES = '/boot/refind_linux.conf'

export interface RefindLine {
  number: number
  title: string
  options: string
}

/** Reads lines of two quoted words each; the first line boots by default. A doubled quote stands for one. */
export function readRefindLines({ files }: Host): RefindLine[] {
  const text = files.optionalBytes(REFIND_LINES)?.toString('utf8') ?? ''
  return text.split('\n').flatMap((row, index) => {
    const found = /^\s*(?:"((?:[^"]|"")*)"|([^\s"#]\S*))\s+"((?:[^"]|"")*)"/.exec(row)
    return found === null ? [] : [{ number: index + 1, title: found[1] ?? found[2] ?? '', options: found[3] ?? '' }]
  })
}

/**
 * Returns the entries of the kernels that rEFInd finds beside its file of arguments: each kernel with each line. Which
 * kernel it takes is the one that was booted last, which is not known here.
 * Source: the page about Linux of its documentation.
 */
export function refindEntries(host: Host): MenuEntry[] {
  const lines = readRefindLines(host)
  const kernels = listFolder(host.files, '/boot').filter((name) => /^(vmlinuz|bzImage|kernel)/.test(name))
  return kernels.flatMap((kernel) =>
    lines.map(({ title, options }, at): MenuEntry => {
      const line = options.replaceAll('%v', refindVersion(kernel)).replaceAll('%%', '%')
      const named = parseCommandLine(line).flatMap(({ name, value = '' }) => (name === 'initrd' ? [value] : []))
      const images = named.length > 0 ? named : imagesBeside(host.files, kernel)
      const recovery = bootsRecovery(line, [kernel, ...images])
      const isDefault = at > 0 ? false : null
      const row = { title: `${kernel}: ${title}`, file: REFIND_LINES, kernel: `/${kernel}`, images, line, recovery }
      return toMenuEntry(host, { ...row, isDefault }, '/boot')
    }),
  )
}

/** Returns the version in a file's name, from its first digit to its last: `6.1.0-37-amd6`. */
const refindVersion = (name: string): string => /\d.*\d|\d/.exec(name)?.[0] ?? ''

/** Finds the initramfs that rEFInd takes for a kernel: that of the same version, else of the longest like name. */
function imagesBeside(files: Reader, kernel: string): string[] {
  const version = refindVersion(kernel)
  const found = listFolder(files, '/boot').filter(
    (name) => /^(init|booster).*/.test(name) && !/fallback/.test(name) && refindVersion(name) === version,
  )
  const name = kernel.replace(/^\w+-?/, '')
  const best = found.find((one) => one.replace(/^[^-]*-|\.img$/g, '') === name) ?? found[0]
  return best === undefined ? [] : [`/${best}`]
}
