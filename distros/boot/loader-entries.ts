import { argumentsInFile, commandLineIn } from '../../lib/edit/command-line.ts'
import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, Observation } from '../../lib/system/system.ts'
import { findPath, listFolder } from './boot-files.ts'

/** An entry of the Boot Loader Specification, type 1, that boots a Linux. */
export interface BootEntry {
  /** Without symbolic links. */
  path: string
  text: string
  title: string
  /** `/vmlinuz-6.12`, as seen from its partition. */
  linux: string
  /** Its arguments; blank where something else stands. */
  line: string
  /** For when nothing else boots: it stays as it is. */
  recovery: boolean
}

/** Where a boot partition or ESP may be mounted. */
export const ESP_MOUNTS = ['/efi', '/boot', '/boot/efi']

/** The entries in all places, by file name. Source: the Boot Loader Specification; boot_entry_add_type1() in systemd. */
export function readEntries(files: Reader): BootEntry[] {
  const folders = new Set(ESP_MOUNTS.map((place) => findPath(files, `${place}/loader/entries`)))
  return [...folders].flatMap((folder) =>
    (folder === undefined ? [] : listFolder(files, folder))
      .filter((name) => /^[^.].*\.conf$/.test(name))
      .flatMap((name) => readEntry(files, `${folder}/${name}`) ?? []),
  )
}

function readEntry(files: Reader, path: string): BootEntry | undefined {
  const text = files.optionalBytes(path)?.toString('latin1')
  if (text === undefined) return undefined
  const value = (key: string): string | undefined =>
    new RegExp(`^[ \\t]*${key}[ \\t]+(.*?)[ \\t\\r]*$`, 'm').exec(text)?.[1]
  const line = commandLineIn(text, 'options')
  // A kernel can be started as the EFI program that it is; memory tests and other systems are, too.
  const linux = value('linux') ?? (/(^|\s)root=/.test(line) ? value('efi') : undefined)
  if (linux === undefined) return undefined
  const title = value('title') ?? path.replace(/.*\//, '').replace(/\.conf$/, '')
  const names = [title, path.replace(/.*\//, ''), linux.replace(/.*[/\\]/, '')]
  const single = /(^|\s)(single|(systemd\.unit=)?(rescue|emergency)(\.target)?)(\s|$)/.test(line)
  const recovery = single || names.some((name) => /(^|[^a-z])(fallback|rescue|recovery)([^a-z]|$)/i.test(name))
  return { path: files.resolve(path) ?? path, text, title, linux, line, recovery }
}

/** The arguments of each entry; recovery entries aside. */
export function entryArguments(entries: readonly BootEntry[]): ConfiguredArgument[] {
  return entries
    .filter(({ recovery }) => !recovery)
    .flatMap(({ path, text }) => argumentsInFile(path, text, 'options').map((one) => ({ ...one, entry: path })))
}

/** Do the entries have the tokens; with `absent`, has none of them any? Recovery entries aside. */
export function observeEntries(
  entries: readonly BootEntry[],
  tokens: readonly string[],
  absent: boolean,
): Observation[] {
  const normal = entries.filter(({ recovery }) => !recovery)
  const [one] = normal
  if (one === undefined) return [{ ok: null, proof: 'no entry of a boot loader could be seen' }]
  const folder = one.path.replace(/\/[^/]*$/, '')
  const required = tokens.join(absent ? ' or ' : ' ')
  if (absent) {
    const having = normal.filter(({ line }) => tokens.some((token) => hasArgument(line, token)))
    return [{ ok: having.length === 0, proof: `${folder}: ${having.length} entries have ${required}` }]
  }
  const without = normal.filter(({ line }) => !tokens.every((token) => hasArgument(line, token)))
  const have = `${folder}: ${normal.length - without.length} of ${normal.length} normal entries have ${required}`
  const names = without.map(({ path }) => path.replace(/.*\//, ''))
  return [{ ok: without.length === 0, proof: without.length === 0 ? have : `${have}; not: ${names.join(', ')}` }]
}

/** Is GRUB's menu made of such entries (blscfg), which systemd-boot's are not? */
export function hasBlscfgMenu({ files }: Host): boolean {
  return ['/boot/grub2/grub.cfg', '/boot/grub/grub.cfg'].some((path) =>
    /^\s*blscfg\b/m.test(files.optionalBytes(path)?.toString('latin1') ?? ''),
  )
}
