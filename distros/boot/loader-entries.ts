import { UserError } from '../../lib/core/error.ts'
import { argumentsInFile, commandLineIn } from '../../lib/edit/command-line.ts'
import { hasArgument } from '../../lib/edit/kernel-arguments.ts'
import type { ConfiguredArgument } from '../../lib/edit/shell-variables.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Observation } from '../../lib/system/system.ts'
import { findPath, listFolder, rawText, realPath } from './boot-files.ts'
import { compareNatural } from './entry-order.ts'

/** An entry of the Boot Loader Specification, type 1, that boots a Linux. */
export interface BootEntry {
  /** The path without symbolic links. */
  path: string
  text: string
  title: string
  /** The kernel's path as seen from its partition: `/vmlinuz-6.12`. */
  linux: string
  /** The entry's arguments; blanks stand for the rest of the file. */
  line: string
  /** Is it for when nothing else boots? Then it stays unchanged. */
  recovery: boolean
}

/** The mount points at which a boot partition or an ESP is looked for. */
export const ESP_MOUNTS = ['/efi', '/boot', '/boot/efi']

/** Reads the entries of all mount points. Source: the Boot Loader Specification; boot_entry_add_type1() in systemd. */
export function readEntries(files: Reader): BootEntry[] {
  const folders = new Set(ESP_MOUNTS.map((place) => findPath(files, `${place}/loader/entries`)))
  const entries = [...folders].flatMap((folder) =>
    (folder === undefined ? [] : listFolder(files, folder))
      .filter((name) => /^[^.].*\.conf$/.test(name))
      .flatMap((name) => readEntry(files, `${folder}/${name}`) ?? []),
  )
  return entries.map((entry) => ({ ...entry, recovery: entry.recovery || isSpare(entry, entries) }))
}

/** Do a command line or the images that it boots with make a system for repairs? A title is what anybody likes to write. */
export function bootsRecovery(line: string, images: readonly string[]): boolean {
  const asks = /(^|\s)(single|recovery|(systemd\.unit=)?(rescue|emergency)(\.target)?)(\s|$)/.test(line)
  return asks || images.some((name) => /(^|[^a-z])(rescue|recovery)([^a-z]|$)/i.test(name))
}

/** The kernel and the initramfs images that an entry boots. */
export function imagesOf({ linux, text }: Pick<BootEntry, 'linux' | 'text'>): string[] {
  return [linux, ...[...text.matchAll(/^[ \t]*initrd[ \t]+(.*)$/gm)].map(([, initrd = '']) => initrd)]
}

/** Does it boot a fallback image of a kernel that another entry boots with its usual one? Some people have no other. */
function isSpare(entry: BootEntry, entries: readonly BootEntry[]): boolean {
  const hasFallback = (some: readonly string[]): boolean =>
    some.some((name) => /(^|[^a-z])fallback([^a-z]|$)/i.test(name))
  const usual = entries.filter((one) => !one.recovery && !hasFallback(imagesOf(one)))
  return hasFallback(imagesOf(entry)) && usual.some(({ linux }) => linux === entry.linux || hasFallback([entry.linux]))
}

function readEntry(files: Reader, path: string): BootEntry | undefined {
  const text = rawText(files, path)
  if (text === undefined) return undefined
  const value = (key: string): string | undefined =>
    new RegExp(`^[ \\t]*${key}[ \\t]+(.*?)[ \\t\\r]*$`, 'm').exec(text)?.[1]
  const line = commandLineIn(text, 'options')
  // A kernel can also be started as an EFI program; but so are memory tests and other systems.
  const linux = value('linux') ?? (/(^|\s)root=/.test(line) ? value('efi') : undefined)
  if (linux === undefined) return undefined
  const title = value('title') ?? path.replace(/.*\//, '').replace(/\.conf$/, '')
  // What it boots decides, and not its name: a person may call any entry a fallback.
  const recovery = bootsRecovery(line, imagesOf({ linux, text }))
  return { path: realPath(files, path), text, title, linux, line, recovery }
}

/** Reads the entries of OSTree's deployments. The first has the highest version, and boots unless another is chosen. */
export function ostreeEntries(files: Reader): BootEntry[] {
  const versionOf = ({ text }: BootEntry): number => Number(/^version[ \t]+(\d+)/m.exec(text)?.[1] ?? 0)
  const entries = readEntries(files).filter(isOfOstree)
  return entries.sort((one, other) => versionOf(other) - versionOf(one) || compareNatural(other.path, one.path))
}

/** Is it an entry of an OSTree deployment? */
export function isOfOstree({ path }: BootEntry): boolean {
  return /\/ostree-[^/]*\.conf$/.test(path)
}

/**
 * Returns the entries that arguments are written to; those for recovery stay as they are.
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

/** Returns the arguments of each entry, without recovery entries. */
export function entryArguments(entries: readonly BootEntry[]): ConfiguredArgument[] {
  return entries
    .filter(({ recovery }) => !recovery)
    .flatMap(({ path, text }) => argumentsInFile(path, text, 'options').map((one) => ({ ...one, entry: path })))
}

/** Observes whether all normal entries have the tokens or, with `absent`, none has any of them. */
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

/** Observes whether these entries have all tokens or, with `absent`, none has any; `place` is their menu or folder. */
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

/** Observes the same of one command line. */
export function observeLine(place: string, line: string, tokens: readonly string[], absent: boolean): Observation {
  const has = tokens.filter((token) => hasArgument(line, token))
  const ok = has.length === (absent ? 0 : tokens.length)
  return { ok, proof: `${place} has ${has.length} of ${tokens.join(' ')}` }
}
