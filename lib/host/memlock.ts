import type { Reader } from './reader.ts'

/** The limit that a login gives: bytes (`undefined`: no limit), and the place where it is set. */
export interface MemlockLimit {
  bytes: number | undefined
  place: string
}

/** The account that a limit is looked up for: a user, and all groups that the next login has. */
export interface Account {
  name: string
  uid: number
  groups: readonly { name: string; gid: number }[]
}

const MAIN = '/etc/security/limits.conf'
const FOLDER = '/etc/security/limits.d'

/**
 * Returns how much memory a user may lock from the next login on; `null` when no file says so and the system's own
 * limit stays. A line for the user goes before one for a group, that before one for everybody; among equals the last
 * counts.
 * Source: limits.conf(5), pam_limits(8).
 */
export function readLoginMemlock(files: Reader, who: Account): MemlockLimit | null {
  const names = (files.list(FOLDER) ?? []).filter((name) => name.endsWith('.conf'))
  const best: { soft?: MemlockLimit & { rank: number }; hard?: MemlockLimit & { rank: number } } = {}
  for (const path of [MAIN, ...names.map((name) => `${FOLDER}/${name}`)])
    for (const [index, line] of (files.optionalBytes(path)?.toString('latin1') ?? '').split('\n').entries()) {
      const [domain = '', type = '', item = '', value = ''] = line.replace(/#.*/, '').trim().split(/\s+/)
      const rank = rankOf(domain, who)
      const bytes = memlockBytes(value)
      if (item.toLowerCase() !== 'memlock' || rank === undefined || bytes === null) continue
      const found = { bytes, place: `${path}:${index + 1}`, rank }
      for (const kind of ['soft', 'hard'] as const)
        if ((type === '-' || type.toLowerCase() === kind) && rank <= (best[kind]?.rank ?? rank)) best[kind] = found
    }
  const { soft, hard } = best
  // Without a line for both, the lower limit of the system stays.
  if (soft === undefined || hard === undefined) return null
  const { bytes, place } = (hard.bytes ?? Infinity) < (soft.bytes ?? Infinity) ? hard : soft
  return { bytes, place }
}

/** Returns how near a line is to the user, 0 being the nearest; `undefined` when it is for others. */
function rankOf(domain: string, { name, uid, groups }: Account): number | undefined {
  if (domain === name || isIn(domain, uid)) return 0
  const group = domain.startsWith('@') ? domain.slice(1) : undefined
  if (group !== undefined && groups.some((one) => one.name === group || isIn(group, one.gid))) return 1
  return domain === '*' ? 2 : undefined
}

/** Is the number in the range `1000:`, `:1000` (that one alone) or `1000:2000`? */
function isIn(range: string, id: number): boolean {
  const [, from, to] = /^(\d*):(\d*)$/.exec(range) ?? []
  if (from === undefined || to === undefined || from + to === '') return false
  if (from === '') return id === Number(to)
  return id >= Number(from) && (to === '' || id <= Number(to))
}

/** Returns the bytes of a number of kibibytes; `undefined`: no limit, `null`: not a number. */
function memlockBytes(value: string): number | undefined | null {
  if (/^(-1|unlimited|infinity)$/i.test(value)) return undefined
  return /^\d+$/.test(value) ? Number(value) * 1024 : null
}
