import { globPattern } from '../../lib/core/glob.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'

// Which entry boots when nobody chooses.

/** What decides on an entry's place in the menu of systemd-boot. */
export interface SortedEntry {
  entry: MenuEntry
  sortKey: string
  machineId: string
  version: string
}

/**
 * Compares two versions: negative where the first is older. Source: the Version Format Specification of the UAPI group
 * (digits by number, letters after them by code, `~` before the end, `^` and `-` behind it).
 */
export function compareVersions(one: string, other: string): number {
  const parts = (text: string): string[] => text.match(/\d+|[a-zA-Z]|[~^.-]/g) ?? []
  const rank = (part: string | undefined): number =>
    part === undefined ? 1 : ({ '~': 0, '-': 2, '^': 3, '.': 4 }[part] ?? (/\d/.test(part) ? 6 : 5))
  const [left, right] = [parts(one), parts(other)]
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const [first, second] = [left[at], right[at]]
    const both = rank(first) - rank(second)
    if (both !== 0) return both
    if (first === second) continue
    const difference = Number(first) - Number(second)
    if (difference !== 0) return Number.isNaN(difference) ? ((first ?? '') < (second ?? '') ? -1 : 1) : difference
  }
  return 0
}

/** Compares two names: numbers in them by value, the rest by code. */
export function compareNatural(one: string, other: string): number {
  const partsOf = (text: string): string[] => text.match(/\d+|\D/g) ?? []
  const [left, right] = [partsOf(one), partsOf(other)]
  const at = left.findIndex((part, index) => part !== right[index])
  const [first, second] = [left[at] ?? '', right[at] ?? '']
  if (at < 0) return left.length - right.length
  return (/^\d/.test(first) && /^\d/.test(second) ? Number(first) - Number(second) : 0) || (first < second ? -1 : 1)
}

/** Returns the ID of an entry: its file's name. */
const idOf = ({ file }: MenuEntry): string => file.replace(/.*\//, '')

/** Returns how many boots are left to an entry that counts them, and how many failed: `NAME+LEFT-DONE.conf`. */
function triesOf(entry: MenuEntry): { left: number; done: number } {
  const [, left, done = '0'] = /\+(\d+)(?:-(\d+))?\.(?:conf|efi)$/i.exec(idOf(entry)) ?? []
  return { left: left === undefined ? Number.POSITIVE_INFINITY : Number(left), done: Number(done) }
}

const plainId = (entry: MenuEntry): string => idOf(entry).replace(/(\+\d+(-\d+)?)?\.(conf|efi)$/i, '')

/** Sorts entries as systemd-boot does: what failed too often last, then sort-key and newest version, then newest name. */
export function sortEntries(entries: readonly SortedEntry[]): MenuEntry[] {
  const by = (one: string, other: string): number => (one < other ? -1 : one > other ? 1 : 0)
  const sorted = [...entries].sort((one, other) => {
    const [tries, others] = [triesOf(one.entry), triesOf(other.entry)]
    const keyed = one.sortKey !== '' && other.sortKey !== ''
    return (
      Number(tries.left === 0) - Number(others.left === 0) ||
      Number(one.sortKey === '') - Number(other.sortKey === '') ||
      (keyed
        ? by(one.sortKey, other.sortKey) ||
          by(one.machineId, other.machineId) ||
          compareVersions(other.version, one.version)
        : 0) ||
      compareVersions(plainId(other.entry), plainId(one.entry)) ||
      (tries.left === others.left ? 0 : others.left - tries.left) ||
      tries.done - others.done
    )
  })
  return sorted.map(({ entry }) => entry)
}

/**
 * Marks the entry that systemd-boot takes: the first that one of these patterns is for, in turn, else the first of all.
 * Source: config_select_default_entry() in systemd's boot.c.
 */
export function markByPattern(sorted: readonly MenuEntry[], patterns: readonly string[]): MenuEntry[] {
  const matches = (entry: MenuEntry, pattern: string): boolean =>
    [idOf(entry), idOf(entry).replace(/\.conf$/i, ''), idOf(entry).replace(/\+\d+(-\d+)?(?=\.\w+$)/, '')].some((id) =>
      globPattern(pattern.toLowerCase()).test(id.toLowerCase()),
    )
  const chosen = patterns.flatMap((pattern) => sorted.find((entry) => matches(entry, pattern)) ?? [])
  const taken = chosen[0] ?? sorted[0]
  return sorted.map((entry) => ({ ...entry, isDefault: entry === taken }))
}

/** A place of GRUB's menu: an entry or, with `below`, a submenu. An entry of another system has neither. */
export interface MenuNode {
  title: string
  id: string
  below?: MenuNode[]
  entries: MenuEntry[]
}

/**
 * Returns the entries of GRUB's menu, with the default one marked: a number, a title or an ID, in submenus behind `>`.
 * `null`: that is not known. Source: get_entry_number() in grub-core/normal/menu.c.
 */
export function markByGrub(nodes: readonly MenuNode[], chosen: string | null): MenuEntry[] {
  const steps = chosen === null ? null : chosen.split(/(?<!>)>(?!>)/).map((one) => one.replaceAll('>>', '>'))
  return mark(nodes, steps)
}

function mark(nodes: readonly MenuNode[], steps: readonly string[] | null | undefined): MenuEntry[] {
  const [step, ...rest] = steps ?? []
  const named = nodes.findIndex(({ title, id }) => step !== undefined && (title === step || id === step))
  const number = /^\d+$/.test(step ?? '') ? Number(step) : named
  const at = number in nodes ? number : 0
  return nodes.flatMap(({ below, entries }, index): MenuEntry[] => {
    const here = steps === undefined ? false : steps === null ? null : index === at
    // A submenu that the default names without an entry of it opens, and nobody has chosen there.
    if (below !== undefined)
      return mark(below, here === true ? (rest.length > 0 ? rest : null) : here === null ? null : undefined)
    return entries.map((entry) => ({ ...entry, isDefault: here }))
  })
}
