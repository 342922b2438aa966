import type { Buffer } from 'node:buffer'

/** The result of one read: the bytes of a file, the text of a symbolic link, or the names in a folder. */
export type TreeEntry = { file: Buffer } | { link: string } | { folder: readonly string[] }

/**
 * The options of a reader: `record` keeps what it reads; `lenient` takes what may not be read as absent. `denied` and
 * `denials` are the remarks of an earlier reader.
 */
export interface ReaderOptions {
  record?: boolean
  lenient?: boolean
  denied?: Map<string, string>
  denials?: string[]
}

/**
 * The one way to read a machine. Paths are absolute as the machine itself would write them (`/sys/bus/pci`) and are
 * looked up below `root` as in a chroot(2): an absolute link means "below the root", `..` stops at the root, so nothing
 * outside it is ever read.
 * An absent path gives `undefined`, and so does a device that vanished (ENOENT, ENOTDIR, ENODEV, ENXIO).
 * Anything else that cannot be read throws a UserError with code `denied` or `unreadable` that names the path and the
 * errno. A lenient reader gives `undefined` (or false) for what may not be read, and remembers it in `denied`.
 */
export interface Reader {
  readonly root: string
  /**
   * Returns a whole file, or what stands in it behind the first `from` bytes; `undefined` for a folder, which is none. At
   * most `limit` bytes are read (default 64 MiB; more is an error unless `limit` is given).
   */
  bytes(path: string, limit?: number, from?: number): Buffer | undefined
  /** Returns a small attribute as text, without the newline at its end. Bytes that are not UTF-8 become U+FFFD. */
  text(path: string): string | undefined
  /** Does the same as `text`, but what may not be read is `undefined` too, and is remembered in `denied`. */
  optionalText(path: string): string | undefined
  optionalBytes(path: string, limit?: number, from?: number): Buffer | undefined
  /** Returns the last part of a link's text (`../../bus/pci/drivers/nouveau` → `nouveau`); `undefined` if no link. */
  linkName(path: string): string | undefined
  /**
   * Returns all of a symbolic link's text, which need not be a path (`/proc/PID/fd/N`: `socket:[4711]`); `undefined` if
   * no link.
   */
  link(path: string): string | undefined
  /** Returns the names in a folder, sorted by code unit. */
  list(path: string): string[] | undefined
  /** Does the path exist? Links are followed. */
  exists(path: string): boolean
  /** Returns a file's size in bytes; `undefined` when it is absent or no file. */
  size(path: string): number | undefined
  /**
   * Returns the mode and owner that decide who may read a path (stat(2)), and whether it is a block device; `undefined`
   * when it is absent.
   */
  access(path: string): { mode: number; uid: number; gid: number; block: boolean } | undefined
  /**
   * Returns the bytes that root could still write into a folder's file system; `undefined` when the folder is absent.
   */
  freeSpace(path: string): number | undefined
  /** Returns the path without symbolic links, still as seen from the root. */
  resolve(path: string): string | undefined
  /**
   * Returns a function that reads when it is first called, and gives the same again; denials count for each call. A
   * reader that records reads at once, so that what is captured does not hang on what was asked.
   */
  later<T>(read: () => T): () => T
  /** The paths that exist but may not be read, with the remark (and errno) for the person. */
  readonly denied: Map<string, string>
  /** The same remarks, one for each time that it happens, so that each who asks can be told. */
  readonly denials: string[]
  /** Returns a reader that has forgotten where paths lead, with the same remarks. */
  reopen(): Reader
  /** All that was read, when recording was asked for. */
  readonly recording: ReadonlyMap<string, TreeEntry>
}
