import { UserError } from '../core/error.ts'

/** The limit of links in a path, as in the kernel: path_resolution(7), MAXSYMLINKS. */
const MAX_LINKS = 40

/**
 * Returns functions that follow symbolic links as a chroot(2) would, and remember where they lead. `readLink` gives a
 * link's text, `kindOf` the kind of what stands there; both take paths without links in their folders, and give
 * `undefined` for what is absent, or may not be looked at: that adds to `denials`, and is no absence to remember. Too
 * many links throw a UserError with code `unreadable`.
 */
export function openPaths(
  readLink: (path: string) => string | undefined,
  kindOf: (path: string) => 'link' | 'other' | undefined,
  denials: readonly string[],
): {
  /** Returns the path without symbolic links; `undefined` when it leads nowhere. */
  resolve(path: string): string | undefined
  /** Returns the path of a file with its folder resolved; its last part may still be a link. */
  locate(path: string): string | undefined
  /** Takes a folder that was seen in its own folder, whose path has no links either: it needs no look of its own. */
  isFolder(path: string): void
} {
  /** The target of each path that was asked for, whose folders are without links; absent paths are in it too. */
  const folders = new Map<string, string | undefined>([['/', '/']])

  /** Resolves one step of a path: `name` in the folder `parent`, whose own path holds no symbolic links any more. */
  function step(parent: string, name: string, depth: number): string | undefined {
    const path = parent === '/' ? `/${name}` : `${parent}/${name}`
    if (folders.has(path)) return folders.get(path)
    const { length } = denials
    // Almost all of these are links: reading the text at once saves a system call for each device.
    let link = /^\/sys\/(?:bus\/\w+\/devices|class\/\w+)$/.test(parent) ? readLink(path) : undefined
    let target: string | undefined
    if (link === undefined) {
      const kind = kindOf(path)
      if (kind === 'link') link = readLink(path)
      else if (kind !== undefined) target = path
    }
    if (link !== undefined) {
      if (depth >= MAX_LINKS) throw new UserError('unreadable', `${path}: cannot be read (ELOOP)`)
      target = walk(link.startsWith('/') ? '/' : parent, link, depth + 1)
    }
    if (denials.length === length) folders.set(path, target)
    return target
  }

  function walk(from: string, path: string, depth: number): string | undefined {
    let at: string | undefined = from
    for (const name of path.split('/')) {
      if (name === '' || name === '.') continue
      if (name === '..') at = at.slice(0, at.lastIndexOf('/')) || '/'
      else at = step(at, name, depth)
      if (at === undefined) return undefined
    }
    return at
  }

  function resolve(path: string): string | undefined {
    const slash = path.lastIndexOf('/')
    const parent = slash > 0 ? folders.get(path.slice(0, slash)) : undefined
    const name = path.slice(slash + 1)
    // Most questions are about one more name in a folder that is known.
    return parent === undefined || name === '..' || name === '.' || name === ''
      ? walk('/', path, 0)
      : step(parent, name, 0)
  }

  /** Returns the path of a file with its folder resolved; its last part may still be a link. */
  function locate(path: string): string | undefined {
    const slash = path.lastIndexOf('/')
    const parent = path.slice(0, slash) || '/'
    const folder = folders.get(parent) ?? resolve(parent)
    return folder === undefined ? undefined : `${folder === '/' ? '' : folder}${path.slice(slash)}`
  }

  return { resolve, locate, isFolder: (path) => void folders.set(path, path) }
}
