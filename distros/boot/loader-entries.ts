import { UserError } from '../../lib/core/error.ts'
import { argumentsInFile, commandLineIn } from '../../lib/edit/command-line.ts'
import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Observation } from '../../lib/system/system.ts'
import { findPath, listFolder, rawText, realPath } from './boot-files.ts'

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
  const text = rawText(files, path)
  if (text === undefined) return undefined
  const value = (key: string): string | undefined =>
    new RegExp(`^[ \\t]*${key}[ \\t]+(.*?)[ \\t\\r]*$`, 'm').exec(text)?.[1]
  const line = commandLineIn(text, 'options')
  // A kernel can be started as the EFI program that it is; memory tests and other systems are, too.
  const linux = value('linux') ?? (/(^|\s)root=/.test(line) ? value('efi') : undefined)
  if (linux === undefined) return undefined
  const title = value('title') ?? path.replace(/.*\//, '').replace(/\.conf$/, '')
  const single = /(^|\s)(single|(systemd\.unit=)?(rescue|emergency)(\.target)?)(\s|$)/.test(line)
  // What it boots decides, and not its name: a person may call any entry a fallback.
  const booted = [linux, ...[...text.matchAll(/^[ \t]*initrd[ \t]+(.*)$/gm)].map(([, initrd = '']) => initrd)]
  const recovery = single || booted.some((name) => /(^|[^a-z])(fallback|rescue|recovery)([^a-z]|$)/i.test(name))
  return { path: realPath(files, path), text, title, linux, line, recovery }
}

/** The entries of OSTree's deployments; the first, which has the highest version, boots unless another is chosen. */
export function ostreeEntries(files: Reader): BootEntry[] {
  const versionOf = ({ text }: BootEntry): number => Number(/^version[ \t]+(\d+)/m.exec(text)?.[1] ?? 0)
  const entries = readEntries(files).filter(isOfOstree)
  return entries.sort((one, other) => versionOf(other) - versionOf(one))
}

export function isOfOstree({ path }: BootEntry): boolean {
  return /\/ostree-[^/]*\.conf$/.test(path)
}

/**
 * The entries that arguments are written to; those for recovery stay as they are.
 * Throws a UserError, code `unknown-system`, where all entries are for recovery: nothing would be set for any boot.
 */
export function normalEntries(entries: readonly BootEntry[]): BootEntry[] {
  const normal = entries.filter(({ recovery }) => !recovery)
  if (entries.length > 0 && normal.length === 0)
    throw new UserError(
      'unknown-system',
      `${entries.map(({ path }) => path).join(', ')}: for recovery only, by the kernel or initramfs that they boot; make a normal boot entry first`,
    )
  return normal
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
  const named = normal.map(({ path, line }) => ({ name: path.replace(/.*\//, ''), line }))
  return [observeLines(one.path.replace(/\/[^/]*$/, ''), named, tokens, absent)]
}

/** Have these entries of a menu all of the tokens (or, with `absent`, none of them any)? `place`: where the menu is. */
export function observeLines(
  place: string,
  entries: readonly { name: string; line: string }[],
  tokens: readonly string[],
  absent: boolean,
): Observation {
  if (absent) {
    const having = entries.filter(({ line }) => tokens.some((token) => hasArgument(line, token)))
    return { ok: having.length === 0, proof: `${place}: ${having.length} entries have ${tokens.join(' or ')}` }
  }
  const without = entries.filter(({ line }) => !tokens.every((token) => hasArgument(line, token)))
  const have = `${place}: ${entries.length - without.length} of ${entries.length} normal entries have ${tokens.join(' ')}`
  const names = [...new Set(without.map(({ name }) => name))].join(', ')
  return { ok: without.length === 0, proof: without.length === 0 ? have : `${have}; not: ${names}` }
}

/** The same of one command line. */
export function observeLine(place: string, line: string, tokens: readonly string[], absent: boolean): Observation {
  const has = tokens.filter((token) => hasArgument(line, token))
  const ok = has.length === (absent ? 0 : tokens.length)
  return { ok, proof: `${place} has ${has.length} of ${tokens.join(' ')}` }
}
