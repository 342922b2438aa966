import { accountText } from './accounts.ts'
import { type Account, type MemlockLimit, readLoginMemlock } from './memlock.ts'
import type { Reader } from './reader.ts'

/** The user who is going to run guests. */
export interface User {
  /** The user's name; `null` when it is not known, as on a captured machine. */
  name: string | null
  root: boolean
  /** The groups of /etc/group, which the next login has. */
  groups: string[]
  /** The numbers that this login has; `null` when it is somebody else's (sudo), or of no running machine. */
  login: { uid: number; gids: number[] } | null
  /** The bytes that the user may lock in memory; `undefined`: unlimited, `null`: unknown. */
  memlock: number | undefined | null
  /** The limit of locked memory that the next login has; `null`: nothing is set. */
  nextMemlock: MemlockLimit | null
}

/**
 * Reads the person behind this process: under sudo the one who called it, whose groups /etc/group has.
 * Source: proc_pid_status(5), proc_pid_limits(5), group(5), sudo(8).
 */
export function readUser(machine: Reader, files: Reader, running: boolean): User {
  const sudo = running ? process.env.SUDO_USER : undefined
  const status = machine.optionalText('/proc/self/status')
  const uid = /^Uid:\s+(\d+)/m.exec(status ?? '')?.[1]
  const passwd = accountText(files, 'passwd')
  const own = uid === undefined ? undefined : new RegExp(`^([^:]+):[^:]*:${uid}:`, 'm').exec(passwd ?? '')?.[1]
  const name = sudo !== undefined && sudo !== 'root' ? sudo : (own ?? null)
  const limit = /^Max locked memory\s+(\S+)/m.exec(machine.optionalText('/proc/self/limits') ?? '')?.[1]
  const lines = groupLines(files)
  return {
    name,
    root: uid === '0' && (sudo === undefined || sudo === 'root'),
    groups: lines
      .filter(([, , , members = '']) => members.split(',').includes(name ?? ''))
      .map(([group = '']) => group),
    login: name === null || name !== own ? null : { uid: Number(uid), gids: gidsOf(status ?? '') },
    nextMemlock: name === null ? null : readLoginMemlock(files, accountOf(name, passwd ?? '', lines)),
    memlock: limit === undefined || name !== own ? null : limit === 'unlimited' ? undefined : Number(limit),
  }
}

/**
 * May this user, who is not root, do what `bits` (of 0o7) say? The owner's bits count, else the group's, else
 * everybody's. Source: path_resolution(7).
 */
export function mayAccess(
  file: { mode: number; uid: number; gid: number },
  user: { uid: number; gids: readonly number[] },
  bits: number,
): boolean {
  const shift = user.uid === file.uid ? 6 : user.gids.includes(file.gid) ? 3 : 0
  return ((file.mode >> shift) & bits) === bits
}

/** Returns the members of a group, by name and with all groups of the next login, and the group's number. */
export function readGroupMembers(files: Reader, group: string): { members: Account[]; gid: number } {
  const lines = groupLines(files)
  const passwd = accountText(files, 'passwd') ?? ''
  const [, , gid, members = ''] = lines.find(([name]) => name === group) ?? []
  const names = members.split(',').filter((name) => /^[\w.-]+\$?$/.test(name))
  return { members: names.map((name) => accountOf(name, passwd, lines)), gid: Number(gid ?? Number.NaN) }
}

function groupLines(files: Reader): string[][] {
  return (accountText(files, 'group') ?? '').split('\n').map((line) => line.split(':'))
}

/**
 * Returns an account by its name, with the groups of the next login: /etc/passwd has the first, /etc/group the others.
 */
function accountOf(name: string, passwd: string, groups: readonly string[][]): Account {
  const [, uid = '', first = ''] = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(passwd) ?? []
  return {
    name,
    uid: Number(uid || Number.NaN),
    groups: groups
      .filter(([, , gid, members = '']) => gid === first || members.split(',').includes(name))
      .map(([group = '', , gid]) => ({ name: group, gid: Number(gid) })),
  }
}

/** Returns the numbers of the effective group and the supplementary ones. */
function gidsOf(status: string): number[] {
  const effective = /^Gid:\s+\d+\s+(\d+)/m.exec(status)?.[1]
  const others = /^Groups:[ \t]*([\d \t]*)/m.exec(status)?.[1] ?? ''
  return [effective ?? '', ...others.split(/\s+/)].filter(Boolean).map(Number)
}
