import { closeSync, constants, openSync, readlinkSync } from 'node:fs'
import { UserError } from '../core/error.ts'
import { errno } from '../host/errno.ts'

/** The flag of open(2) for a descriptor that only names a folder, without a right to list it. Node does not name it. */
const O_PATH = 0o10000000
const FOLDER = O_PATH | constants.O_DIRECTORY
/** The number of links in a path that the kernel follows, too. Source: path_resolution(7), MAXSYMLINKS. */
const MAX_LINKS = 40

/** A name in a folder that is held open, so that nobody can put another folder or a link in its place meanwhile. */
export interface HeldPath {
  /** The folder, as a path that other programs may use too. */
  folder: string
  /** The path of the name in that folder. It was no symbolic link when it was looked at. */
  file: string
  name: string
}

/**
 * Calls `work` with the file or folder that `path` names below `root`, and returns its result. Every folder on the way
 * is opened without following a link, and links are resolved by hand as in a chroot(2), so nothing outside `root` is
 * reached. The last name need not exist. Node has no openat(2): `/proc/PID/fd/N/NAME` does the same.
 * Throws a UserError with code `outside` when a link leads to a name that does not exist below the root, and whatever
 * `work` throws.
 */
export function beneathRoot<T>(root: string, path: string, work: (held: HeldPath) => T): T {
  const { fd, name } = openParentFolder(root, path)
  const folder = `/proc/${process.pid}/fd/${fd}`
  let done: T
  try {
    done = work({ folder, file: `${folder}/${name}`, name })
  } catch (error) {
    closeSync(fd)
    throw error
  }
  if (!(done instanceof Promise)) {
    closeSync(fd)
    return done
  }
  return done.finally(() => closeSync(fd)) as T
}

function openParentFolder(root: string, path: string): { fd: number; name: string } {
  const names = pathSegments(path)
  const folders = [openSync(root, FOLDER)]
  const top = (): number => folders.at(-1) as number
  const up = (most: number): void => {
    while (folders.length > most) closeSync(folders.pop() as number)
  }
  let links = 0
  try {
    for (;;) {
      const name = names.shift()
      if (name === undefined) throw Object.assign(new Error(), { code: 'EISDIR' })
      if (name === '..') {
        up(Math.max(1, folders.length - 1))
        continue
      }
      const at = `/proc/self/fd/${top()}/${name}`
      const link = linkAt(at)
      if (link !== undefined) {
        if (++links > MAX_LINKS) throw Object.assign(new Error(), { code: 'ELOOP' })
        if (link.startsWith('/')) up(1)
        names.unshift(...pathSegments(link))
      } else if (names.length === 0) {
        const fd = folders.pop() as number
        up(0)
        return { fd, name }
      } else folders.push(openSync(at, FOLDER | constants.O_NOFOLLOW))
    }
  } catch (error) {
    up(0)
    if (links === 0 || errno(error) !== 'ENOENT') throw error
    throw new UserError(
      'outside',
      `${shownPath(root, path)}: goes through a link to what is not there below ${root}; mount it there, or remove the link`,
    )
  }
}

/** Returns a path of the changed system as a person on this machine would write it. */
export function shownPath(root: string, path: string): string {
  return root === '/' ? path : root + path
}

const pathSegments = (path: string): string[] => path.split('/').filter((name) => name !== '' && name !== '.')

function linkAt(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch (error) {
    if (/^(EINVAL|ENOENT)$/.test(errno(error))) return undefined
    throw error
  }
}
