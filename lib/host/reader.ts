import type { Buffer } from 'node:buffer'

/** What one read gave: the bytes of a file, the text of a symbolic link, or the names in a folder. */
export type TreeEntry = { file: Buffer } | { link: string } | { folder: readonly string[] }

/** How a reader reads: `record` what it reads; `lenient`, what it may not read is as absent. */
export interface ReaderOptions {
  record?: boolean
  lenient?: boolean
  denied?: Map<string, string>
  denials?: string[]
}

/**
 * The one way to read a machine. Paths are absolute as the machine itself would write them (`/sys/bus/pci`) and are
 * looked up below `root` as in a chroot(2): an absolute link means "below the root", `..` stops at the root, so
 * nothing outside it is ever read.
 *
 * What is absent is `undefined` (a device that vanished counts: ENOENT, ENOTDIR, ENODEV, ENXIO).
 * Anything else that cannot be read throws a UserError that names the path and the errno; of a lenient reader, what is not
 * ours to read is `undefined` (or false) too, and remembered in `denied`.
 */
export interface Reader {
  readonly root: string
  /** A whole file. `limit` bytes at most are read (default 64 MiB; a longer file is an error unless `limit` is given). */
  bytes(path: string, limit?: number): Buffer | undefined
  /** A small attribute as text, without the newline at its end. Bytes that are no UTF-8 become U+FFFD. */
  text(path: string): string | undefined
  /** As `text`, but what may not be read is `undefined` too, and is remembered in `denied`. */
  optionalText(path: string): string | undefined
  optionalBytes(path: string, limit?: number): Buffer | undefined
  /** The last part of a symbolic link's text (`../../bus/pci/drivers/nouveau` → `nouveau`); `undefined` if no link. */
  linkName(path: string): string | undefined
  /** All of a symbolic link's text, which need not be a path (`/proc/PID/fd/N`: `socket:[4711]`); `undefined` if no link. */
  link(path: string): string | undefined
  /** The names in a folder, sorted by code unit. */
  list(path: string): string[] | undefined
  /** Does it exist? Links are followed. */
  exists(path: string): boolean
  /** A file's size in bytes; `undefined` when it is absent or no file. */
  size(path: string): number | undefined
  /** What decides who may read it (stat(2)'s mode and owner), and whether it is a block device; `undefined` when absent. */
  access(path: string): { mode: number; uid: number; gid: number; block: boolean } | undefined
  /** Bytes that root could still write into the file system that a folder is on; `undefined` when it is absent. */
  freeSpace(path: string): number | undefined
  /** The path without symbolic links, still as seen from the root. */
  resolve(path: string): string | undefined
  /** Paths that exist but were not ours to read, with their errno: remarks for the person. */
  readonly denied: Map<string, string>
  /** The same each time that it happens, so that each who asks can be told. */
  readonly denials: string[]
  /** A reader that has forgotten where paths lead, with the same remarks. */
  reopen(): Reader
  /** Everything that was read, when recording was asked for. */
  readonly recording: ReadonlyMap<string, TreeEntry>
}
