import { Buffer } from 'node:buffer'
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  statfsSync,
  statSync,
} from 'node:fs'
import { UserError } from '../cli/error.ts'
import { call as callSystem, errno, isDenied } from './call.ts'
import type { Reader, Seen } from './reader.ts'

/** A sysfs attribute is at most one page; /proc/cmdline and friends are larger than that on no kernel we know. */
const ATTRIBUTE = 64 * 1024
const WHOLE_FILE = 64 * 1024 * 1024
/** As the kernel: path_resolution(7), MAXSYMLINKS. */
const MAX_LINKS = 40

/** How a reader reads: `record` what it reads; `lenient`, what it may not read is as absent. */
interface Options {
  record?: boolean
  lenient?: boolean
  denied?: Map<string, string>
  denials?: string[]
}

/** Opens a reader on `root`. Throws a UserError when `root` is no folder. */
export function openReader(root: string, options: Options = {}): Reader {
  let base: string
  try {
    base = realpathSync.native(root)
    if (!statSync(base).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
  } catch (error) {
    throw new UserError('unreadable', `${root}: cannot be read as a folder (${errno(error)})`)
  }
  if (base === '/') base = ''

  const { denied = new Map<string, string>(), denials = [] } = options
  const seen = new Map<string, Seen>()
  /** Paths without links in them, as asked for; what is absent too. */
  const folders = new Map<string, string | undefined>([['/', '/']])
  const scratch = Buffer.allocUnsafe(ATTRIBUTE)

  function call<T>(path: string, act: () => T): T | undefined {
    try {
      return callSystem(path, act)
    } catch (error) {
      if (!isDenied(error)) throw error
      const said = closedFolder(path) ?? error
      denials.push(said.message)
      if (options.lenient !== true) throw said
      denied.set(path, said.message)
      return undefined
    }
  }

  /** One remark for a folder that lets nobody in, rather than one for each name that was looked for there. */
  function closedFolder(path: string): UserError | undefined {
    try {
      callSystem(path.slice(0, path.lastIndexOf('/')) || '/', () => lstatSync(base + path))
      return undefined
    } catch (error) {
      return isDenied(error) ? error : undefined
    }
  }

  /** One step of path resolution: `name` in the folder `parent`, which holds no symbolic links any more. */
  function step(parent: string, name: string, depth: number): string | undefined {
    const path = parent === '/' ? `/${name}` : `${parent}/${name}`
    if (folders.has(path)) return folders.get(path)
    // Almost all of these are links: asking at once for their text saves a system call a device.
    let link = /^\/sys\/(?:bus\/\w+\/devices|class\/\w+)$/.test(parent) ? readLink(path) : undefined
    let target: string | undefined
    if (link === undefined) {
      const stat = call(path, () => lstatSync(base + path, { throwIfNoEntry: false }))
      if (stat?.isSymbolicLink()) link = readLink(path)
      else if (stat !== undefined) target = path
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

  function link(path: string): string | undefined {
    const at = locate(path)
    return at && readLink(at)
  }

  function readLink(path: string): string | undefined {
    const link = call(path, () => {
      try {
        return readlinkSync(base + path)
      } catch (error) {
        if (errno(error) === 'EINVAL') return undefined
        throw error
      }
    })
    if (link !== undefined && options.record) seen.set(path, { link })
    return link
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

  function open(path: string): { at: string; fd: number } | undefined {
    let at = locate(path)
    if (at === undefined) return undefined
    // O_NOFOLLOW: a link must be followed by us, below the root. O_NONBLOCK: never wait for a FIFO's writer.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
    for (;;) {
      const file = at
      const fd = call(file, () => {
        try {
          return openSync(base + file, flags)
        } catch (error) {
          if (errno(error) === 'ELOOP') return -1
          throw error
        }
      })
      if (fd === undefined) return undefined
      if (fd >= 0) return { at: file, fd }
      at = resolve(file)
      if (at === undefined) return undefined
    }
  }

  function bytes(path: string, limit?: number): Buffer | undefined {
    const file = open(path)
    if (file === undefined) return undefined
    try {
      return call(file.at, () => {
        const stat = fstatSync(file.fd)
        // Of a disk, only so much as was asked for, and never into a record.
        if (!stat.isFile() && !(stat.isBlockDevice() && limit))
          throw Object.assign(new Error(), { code: stat.isDirectory() ? 'EISDIR' : 'not a file' })
        const most = limit ?? WHOLE_FILE
        // sysfs and procfs give a size of 0 or one page whatever they hold: read until the end.
        let buffer = Buffer.allocUnsafe(Math.min(most, Math.max(stat.size + 1, 4096)))
        let length = 0
        for (;;) {
          const count = readSync(file.fd, buffer, length, buffer.length - length, null)
          length += count
          if (count === 0 || length === limit) {
            const content = buffer.subarray(0, length)
            if (options.record && stat.isFile()) seen.set(file.at, { file: content })
            return content
          }
          if (length === buffer.length) {
            if (length >= most) throw Object.assign(new Error(), { code: 'EFBIG' })
            buffer = Buffer.concat([buffer], Math.min(most, buffer.length * 2))
          }
        }
      })
    } finally {
      closeSync(file.fd)
    }
  }

  /** Three system calls for an attribute: sysfs gives it whole in one read. */
  function text(path: string): string | undefined {
    const file = open(path)
    if (file === undefined) return undefined
    try {
      const length = call(file.at, () => readSync(file.fd, scratch, 0, ATTRIBUTE, null))
      if (length === undefined) return undefined
      if (length === ATTRIBUTE) throw new UserError('unreadable', `${file.at}: too long for an attribute (EFBIG)`)
      if (options.record) seen.set(file.at, { file: Buffer.from(scratch.subarray(0, length)) })
      const end = length > 0 && scratch[length - 1] === 10 ? length - 1 : length
      return scratch.toString('utf8', 0, end)
    } finally {
      closeSync(file.fd)
    }
  }

  function optional<T>(path: string, read: () => T | undefined): T | undefined {
    try {
      return read()
    } catch (error) {
      if (!isDenied(error)) throw error
      denied.set(path, error.message)
      return undefined
    }
  }

  return {
    root,
    denied,
    denials,
    again: () => openReader(root, { lenient: options.lenient === true, denied, denials }),
    seen,
    bytes,
    text,
    resolve,
    optionalText: (path) => optional(path, () => text(path)),
    optionalBytes: (path, limit) => optional(path, () => bytes(path, limit)),
    link,
    linkName: (path) => link(path)?.replace(/^.*\//s, ''),
    list(path) {
      const at = resolve(path)
      if (at === undefined) return undefined
      const names = call(at, () => readdirSync(base + at))?.sort()
      if (names === undefined) return undefined
      if (options.record) seen.set(at, { folder: names })
      return names
    },
    exists(path) {
      const at = resolve(path)
      if (at !== undefined && options.record && !seen.has(at)) seen.set(at, { file: Buffer.alloc(0) })
      return at !== undefined
    },
    size(path) {
      const at = resolve(path)
      const stat = at === undefined ? undefined : call(at, () => lstatSync(base + at))
      return stat?.isFile() ? stat.size : undefined
    },
    access(path) {
      const at = resolve(path)
      const stat = at === undefined ? undefined : call(at, () => lstatSync(base + at))
      return stat === undefined
        ? undefined
        : { mode: stat.mode, uid: stat.uid, gid: stat.gid, block: stat.isBlockDevice() }
    },
    freeSpace(path) {
      const at = resolve(path)
      const stat = at === undefined ? undefined : call(at, () => statfsSync(base + at))
      return stat === undefined ? undefined : stat.bfree * stat.bsize
    },
  }
}

/** Standard input up to its end; `undefined` when it holds more than `limit` bytes. */
export function readStandardInput(limit: number): Buffer | undefined {
  const chunks: Buffer[] = []
  for (let length = 0; length <= limit; ) {
    const chunk = Buffer.allocUnsafe(ATTRIBUTE)
    const count = callSystem('standard input', () => readSync(0, chunk, 0, ATTRIBUTE, null)) ?? 0
    if (count === 0) return Buffer.concat(chunks)
    chunks.push(chunk.subarray(0, count))
    length += count
  }
  return undefined
}

/** Are these two paths one file? (How a script finds itself in argv, whatever links and launchers stand before it.) */
export function sameFile(one: string, other: string): boolean {
  if (one === other) return true
  try {
    return realpathSync.native(one) === realpathSync.native(other)
  } catch {
    return false
  }
}
