import type { Buffer } from 'node:buffer'
import type { Reader } from './reader.ts'

/** A file, folder, link or device of a tree that is held in memory. */
export interface MemoryNode {
  /** The type and permissions, as in stat(2). */
  mode: number
  uid: number
  gid: number
  /** The bytes of a file. */
  size: number
  /** What the file holds, where that was kept. */
  content?: Buffer
  /** The text of a symbolic link. */
  link?: string
  /** What is in a folder. */
  names?: Map<string, MemoryNode>
}

/** The bits of a mode that say what a node is. Source: inode(7). */
export const NODE_TYPES = { mask: 0o170000, file: 0o100000, folder: 0o040000, link: 0o120000, block: 0o060000 } as const
/** The limit of links in a path. Source: path_resolution(7). */
const MOST_LINKS = 40

/** Returns a folder with nothing in it, which anyone may read. */
export function emptyFolder(): MemoryNode {
  return { mode: NODE_TYPES.folder | 0o755, uid: 0, gid: 0, size: 0, names: new Map() }
}

/**
 * Returns what a path leads to below `top`, and its path without links. Links are followed as in a chroot(2), one at
 * the end of the path unless `follow` is false; `undefined` where it leads nowhere or through too many.
 */
export function findNode(top: MemoryNode, path: string, follow = true): { path: string; node: MemoryNode } | undefined {
  const trail: { name: string; node: MemoryNode }[] = []
  const rest = path.split('/').reverse()
  for (let links = 0; rest.length > 0; ) {
    const name = rest.pop()
    if (name === undefined || name === '' || name === '.') continue
    if (name === '..') {
      trail.pop()
      continue
    }
    const node = (trail.at(-1)?.node ?? top).names?.get(name)
    if (node === undefined) return undefined
    if (node.link === undefined || (!follow && rest.length === 0)) {
      trail.push({ name, node })
      continue
    }
    if (++links > MOST_LINKS) return undefined
    if (node.link.startsWith('/')) trail.length = 0
    rest.push(...node.link.split('/').reverse())
  }
  return { path: `/${trail.map(({ name }) => name).join('/')}`, node: trail.at(-1)?.node ?? top }
}

/**
 * Opens a reader on a tree in memory, called `root` where it is named. A file whose content was not kept exists, and has
 * a size and no bytes.
 */
export function openMemoryReader(root: string, top: MemoryNode): Reader {
  const find = (path: string): MemoryNode | undefined => findNode(top, path)?.node
  const bytes = (path: string, limit?: number, from = 0): Buffer | undefined =>
    find(path)?.content?.subarray(from, limit === undefined ? undefined : from + limit)
  const text = (path: string): string | undefined => bytes(path)?.toString('utf8').replace(/\n$/, '')
  const link = (path: string): string | undefined => findNode(top, path, false)?.node.link
  const reader: Reader = {
    root,
    denied: new Map(),
    later: (read) => read,
    denials: [],
    recording: new Map(),
    reopen: () => reader,
    bytes,
    optionalBytes: bytes,
    text,
    optionalText: text,
    link,
    linkName: (path) => link(path)?.replace(/^.*\//s, ''),
    list(path) {
      const names = find(path)?.names
      return names && [...names.keys()].sort()
    },
    exists: (path) => find(path) !== undefined,
    size(path) {
      const node = find(path)
      return node !== undefined && (node.mode & NODE_TYPES.mask) === NODE_TYPES.file ? node.size : undefined
    },
    access(path) {
      const node = find(path)
      return (
        node && {
          mode: node.mode,
          uid: node.uid,
          gid: node.gid,
          block: (node.mode & NODE_TYPES.mask) === NODE_TYPES.block,
        }
      )
    },
    freeSpace: () => undefined,
    resolve: (path) => findNode(top, path)?.path,
  }
  return reader
}
