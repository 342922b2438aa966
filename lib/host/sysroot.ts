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
import { UserError } from '../core/error.ts'
import { systemCall as callSystem, errno, isDenied, readChunk } from './errno.ts'
import type { Reader, ReaderOptions, TreeEntry } from './reader.ts'
import { openPaths } from './resolve.ts'

/**
 * The limit of an attribute. sysfs has one page at most; /proc/cmdline and its like exceed the limit on no known
 * kernel.
 */
const ATTRIBUTE = 64 * 1024
const WHOLE_FILE = 64 * 1024 * 1024
/** The kernel log, which gives one record for each read (Documentation/ABI/testing/dev-kmsg). */
const KMSG = '/dev/kmsg'

/** Opens a reader on `root`. Throws a UserError with code `unreadable` when `root` is no folder. */
export function openReader(root: string, options: ReaderOptions = {}): Reader {
  let base: string
  try {
    base = realpathSync.native(root)
    if (!statSync(base).isDirectory()) throw Object.assign(new Error(), { code: 'ENOTDIR' })
  } catch (error) {
    throw new UserError('unreadable', `${root}: cannot be read as a folder (${errno(error)})`)
  }
  if (base === '/') base = ''

  const { denied = new Map<string, string>(), denials = [] } = options
  const seen = new Map<string, TreeEntry>()
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

  /** Returns one error for a folder that lets nobody in, rather than one for each name that was looked for there. */
  function closedFolder(path: string): UserError | undefined {
    try {
      callSystem(path.slice(0, path.lastIndexOf('/')) || '/', () => lstatSync(base + path))
    } catch (error) {
      if (isDenied(error)) return error
    }
    return undefined
  }

  const { resolve, locate, isFolder } = openPaths(readLink, kindOf, denials)

  function kindOf(path: string): 'link' | 'other' | undefined {
    const stat = call(path, () => lstatSync(base + path, { throwIfNoEntry: false }))
    return stat && (stat.isSymbolicLink() ? 'link' : 'other')
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

  function open(path: string): { at: string; fd: number } | undefined {
    let at = locate(path)
    if (at === undefined) return undefined
    // O_NOFOLLOW: links are followed here, below the root. O_NONBLOCK: never wait for a FIFO's writer.
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

  function bytes(path: string, limit?: number, from?: number): Buffer | undefined {
    const file = open(path)
    if (file === undefined) return undefined
    try {
      return call(file.at, () => {
        const stat = fstatSync(file.fd)
        if (stat.isDirectory()) return undefined
        const records = file.at === KMSG && stat.isCharacterDevice()
        // A disk is read only as far as was asked for, and never recorded.
        if (!stat.isFile() && !(stat.isBlockDevice() && limit) && !records)
          throw Object.assign(new Error(), { code: 'not a file' })
        const most = limit ?? WHOLE_FILE
        // sysfs and procfs give a size of 0 or one page, whatever they hold: read until the end.
        let buffer = Buffer.allocUnsafe(records ? most : Math.min(most, Math.max(stat.size + 1 - (from ?? 0), 4096)))
        let length = 0
        for (;;) {
          const at = from === undefined ? null : from + length
          const count = readChunk(() => readSync(file.fd, buffer, length, buffer.length - length, at))
          length += count
          if (count === 0 || length === limit) {
            const content = buffer.subarray(0, length)
            if (options.record && stat.isFile() && from === undefined) seen.set(file.at, { file: content })
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

  /** Reads an attribute with three system calls: sysfs gives it whole in one read. */
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

  function statusOf(path: string) {
    const at = resolve(path)
    return at === undefined ? undefined : call(at, () => lstatSync(base + at))
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

  function later<T>(read: () => T): () => T {
    let known: { value: T; said: string[] } | undefined
    const ask = (): T => {
      if (known !== undefined) {
        denials.push(...known.said)
        return known.value
      }
      const { length } = denials
      const value = read()
      known = { value, said: denials.slice(length) }
      return value
    }
    if (options.record) ask()
    return ask
  }

  return {
    root,
    later,
    denied,
    denials,
    reopen: () => openReader(root, { lenient: options.lenient === true, denied, denials }),
    recording: seen,
    bytes,
    text,
    resolve,
    optionalText: (path) => optional(path, () => text(path)),
    optionalBytes: (path, limit, from) => optional(path, () => bytes(path, limit, from)),
    link,
    linkName: (path) => link(path)?.replace(/^.*\//s, ''),
    list(path) {
      const at = resolve(path)
      if (at === undefined) return undefined
      const entries = call(at, () => readdirSync(base + at, { withFileTypes: true }))
      for (const entry of entries ?? []) if (entry.isDirectory()) isFolder(`${at === '/' ? '' : at}/${entry.name}`)
      const names = entries?.map(({ name }) => name).sort()
      if (options.record && names !== undefined) seen.set(at, { folder: names })
      return names
    },
    exists(path) {
      const at = resolve(path)
      if (at !== undefined && options.record && !seen.has(at)) seen.set(at, { file: Buffer.alloc(0) })
      return at !== undefined
    },
    size(path) {
      const stat = statusOf(path)
      return stat?.isFile() ? stat.size : undefined
    },
    access(path) {
      const stat = statusOf(path)
      return stat && { mode: stat.mode, uid: stat.uid, gid: stat.gid, block: stat.isBlockDevice() }
    },
    freeSpace(path) {
      const at = resolve(path)
      const stat = at === undefined ? undefined : call(at, () => statfsSync(base + at))
      return stat === undefined ? undefined : stat.bfree * stat.bsize
    },
  }
}

/** Returns standard input up to its end; `undefined` when it holds more than `limit` bytes. */
export function readStandardInput(limit: number): Buffer | undefined {
  let data = Buffer.alloc(0)
  while (data.length <= limit) {
    const chunk = Buffer.allocUnsafe(ATTRIBUTE)
    const count = callSystem('standard input', () => readSync(0, chunk, 0, ATTRIBUTE, null)) ?? 0
    if (count === 0) return data
    data = Buffer.concat([data, chunk.subarray(0, count)])
  }
  return undefined
}

/** Are these two paths one file? A script finds itself in argv by this, whatever links stand before it. */
export function sameFile(one: string, other: string): boolean {
  if (one === other) return true
  try {
    return realpathSync.native(one) === realpathSync.native(other)
  } catch {
    return false
  }
}
