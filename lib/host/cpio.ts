import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import { findNode, type MemoryNode, NODE_TYPES } from './memory-reader.ts'

// The archives that an initramfs is made of, read as the kernel does: Documentation/driver-api/early-userspace/
// buffer-format.rst, init/initramfs.c.

/** The length of a header: a magic number and 13 numbers of eight hexadecimal digits. */
const HEADER = 110
/** PATH_MAX: the kernel leaves out what has a longer name or link. */
const LONGEST_NAME = 4096
/** The size of the largest file whose content is kept. */
const KEPT_FILE = 64 * 1024
/** The bytes of names and contents that are kept in all, so that no image takes all memory. */
const KEPT = 64 << 20
/** What one more file costs beside its name and content. */
const NODE_COST = 256
/** The bytes that an image may unpack to. */
const MOST_UNPACKED = 2 ** 33
/** The files that count by their name only. */
const BY_NAME = /^\/(usr\/)?lib\/(modules|firmware)\//
const TRAILER = 'TRAILER!!!'

/** An archive whose bytes are written into it, piece by piece. */
export interface CpioArchive {
  /**
   * Takes the next bytes. Returns how many it took: fewer than there are where behind the end of an archive stands
   * neither padding nor the next archive. Throws a UserError with code `damaged`.
   */
  write(chunk: Buffer): number
  /** Says that no more bytes come. Throws a UserError with code `damaged` when some are lacking. */
  end(): void
}

/** What the archives of one image took so far: bytes that are kept in memory, and bytes that were read. */
export interface CpioBudget {
  kept: number
  unpacked: number
}

/** Opens a stream of cpio archives (newc, crc) that puts files into the tree below `top` as the kernel would. */
export function openCpio(top: MemoryNode, budget: CpioBudget): CpioArchive {
  /** The nodes of this archive that have several names, by the number of their inode. */
  const hardLinks = new Map<string, MemoryNode>()
  /** The bytes to leave out. */
  let skip = 0
  /** The bytes of the step at hand: how many it needs, and what came of them. */
  let wanted = 0
  let held: Buffer[] = []
  let heldLength = 0
  let position = 0
  let step: ((bytes: Buffer) => void) | undefined

  function want(length: number, next: (bytes: Buffer) => void): void {
    wanted = length
    step = next
  }

  function keep(bytes: number): void {
    budget.kept += bytes
    if (budget.kept > KEPT) throw new UserError('damaged', 'it holds more files than any initramfs has')
  }

  function header(bytes: Buffer): void {
    const text = bytes.toString('latin1')
    if (!/^07070[12][0-9a-f]{104}$/i.test(text)) throw new UserError('damaged', 'a header in it is wrong')
    const field = (index: number): number => Number.parseInt(text.slice(6 + 8 * index, 14 + 8 * index), 16)
    const [mode, size, nameSize] = [field(1), field(6), field(11)]
    const node = { mode, uid: field(2), gid: field(3), size }
    const key = field(4) > 1 ? `${text.slice(62, 78)}${text.slice(6, 14)}${typeOf(node)}` : undefined
    const name = padded(HEADER + nameSize) - HEADER
    if (nameSize > 0 && nameSize <= LONGEST_NAME) want(name, (read) => named(textIn(read, nameSize), node, key))
    else leaveOut(name + padded(size))
  }

  function leaveOut(length: number): void {
    skip = length
    want(HEADER, header)
  }

  function named(name: string, entry: MemoryNode, key: string | undefined): void {
    const { size } = entry
    if (name === TRAILER) {
      hardLinks.clear()
      skip = padded(size)
      step = undefined
    } else if (typeOf(entry) === NODE_TYPES.link) {
      if (size > LONGEST_NAME) leaveOut(padded(size))
      else
        want(padded(size), (bytes) => {
          put(name, { ...entry, link: textIn(bytes, size) }, key)
          want(HEADER, header)
        })
    } else if (typeOf(entry) === NODE_TYPES.file) {
      const node = put(name, entry, key)
      const kept = size > 0 && size <= KEPT_FILE && !BY_NAME.test(pathOf(name))
      if (node === undefined || !kept) leaveOut(padded(size))
      else
        want(padded(size), (bytes) => {
          keep(size)
          node.content = Buffer.from(bytes.subarray(0, size))
          want(HEADER, header)
        })
    } else {
      put(name, typeOf(entry) === NODE_TYPES.folder ? { ...entry, size: 0, names: new Map() } : entry, key)
      leaveOut(padded(size))
    }
  }

  /** Puts a file where its name says; `undefined` where it cannot be: its folder is absent, or a folder is in its way. */
  function put(name: string, node: MemoryNode, key: string | undefined): MemoryNode | undefined {
    const path = name.replace(/\/+$/, '')
    const own = path.slice(path.lastIndexOf('/') + 1)
    const folder = findNode(top, path.slice(0, path.length - own.length))?.node.names
    if (folder === undefined || own === '' || own === '.' || own === '..') return undefined
    const type = typeOf(node)
    const old = folder.get(own)
    const stays = old !== undefined && typeOf(old) === type
    if (old?.names !== undefined && !stays && old.names.size > 0) return undefined
    const linked = key !== undefined && type !== NODE_TYPES.folder ? hardLinks.get(key) : undefined
    // Of a file with several names only one has the content; the others have a size of 0.
    if (linked !== undefined) {
      if (node.size > 0) {
        Object.assign(linked, node)
        delete linked.content
      }
      folder.set(own, linked)
      return linked
    }
    keep(own.length + NODE_COST)
    if (stays && type === NODE_TYPES.folder) return Object.assign(old, { ...node, names: old.names })
    if (type === NODE_TYPES.file && node.size === 0) node.content = Buffer.alloc(0)
    folder.set(own, node)
    if (key !== undefined) hardLinks.set(key, node)
    return node
  }

  return {
    write(chunk) {
      let at = 0
      const from = position
      while (at < chunk.length) {
        position = from + at
        if (skip > 0) {
          const count = Math.min(skip, chunk.length - at)
          skip -= count
          at += count
        } else if (step === undefined) {
          if (chunk[at] === 0) at++
          else if (chunk[at] !== 0x30 || position % 4 !== 0) break
          else want(HEADER, header)
        } else {
          const piece = chunk.subarray(at, at + wanted - heldLength)
          at += piece.length
          heldLength += piece.length
          if (heldLength < wanted) held.push(Buffer.from(piece))
          else {
            const whole = held.length === 0 ? piece : Buffer.concat([...held, piece])
            held = []
            heldLength = 0
            step(whole)
          }
        }
      }
      position = from + at
      budget.unpacked += at
      if (budget.unpacked > MOST_UNPACKED) throw new UserError('damaged', 'it unpacks to more than any initramfs has')
      return at
    },
    end() {
      if (step !== undefined || skip > 0) throw new UserError('damaged', 'it ends too early')
    },
  }
}

/** Headers with their names, and contents, take multiples of four bytes. */
function padded(length: number): number {
  return Math.ceil(length / 4) * 4
}

function typeOf({ mode }: { mode: number }): number {
  return mode & NODE_TYPES.mask
}

/** Returns the text of a name up to its NUL. */
function textIn(bytes: Buffer, length: number): string {
  const end = bytes.indexOf(0)
  return bytes.toString('utf8', 0, end === -1 ? length : Math.min(end, length))
}

function pathOf(name: string): string {
  return `/${name.replace(/^(\.?\/+)+/, '')}`
}
