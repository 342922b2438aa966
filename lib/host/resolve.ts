import { UserError } from '../core/error.ts'

/** As the kernel: path_resolution(7), MAXSYMLINKS. */
const MAX_LINKS = 40

/**
 * Follows symbolic links as a chroot(2) would, and remembers where they lead. `readLink` gives a link's text, `kindOf`
 * what stands there; both of paths without links in their folders, `undefined` for what is absent.
 */
export function openPaths(
  readLink: (path: string) => string | undefined,
  kindOf: (path: string) => 'link' | 'other' | undefined,
): {
  /** The path without symbolic links; `undefined` when it leads nowhere. */
  resolve(path: string): string | undefined
  /** The path of a file with its folder resolved; its last part may still be a link. */
  locate(path: string): string | undefined
} {
  /** Paths without links in them, as asked for; what is absent too. */
  const folders = new Map<string, string | undefined>([['/', '/']])

  /** One step of path resolution: `name` in the folder `parent`, which holds no symbolic links any more. */
  function step(parent: string, name: string, depth: number): string | undefined {
    const path = parent === '/' ? `/${name}` : `${parent}/${name}`
    if (folders.has(path)) return folders.get(path)
    // Almost all of these are links: asking at once for their text saves a system call a device.
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
    folders.set(path, target)
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

  /** The path of a file with its folder resolved; its last part may still be a link. */
  function locate(path: string): string | undefined {
    const slash = path.lastIndexOf('/')
    const parent = path.slice(0, slash) || '/'
    const folder = folders.get(parent) ?? resolve(parent)
    return folder === undefined ? undefined : `${folder === '/' ? '' : folder}${path.slice(slash)}`
  }

  return { resolve, locate }
}
