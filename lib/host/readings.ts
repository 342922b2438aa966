import { isDenied } from './errno.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** A thing that could not be seen: what follows from it is unknown, not false. */
export interface Unreadable {
  /** The name of the thing: `the open files of 212 processes`. */
  what: string
  /** Would root see it? */
  root: boolean
}

/** Returns the device whose folder in sysfs a path is below: the nearest one, for behind Intel VMD there are two. */
export function deviceAbove(path: string, devices: readonly PciDevice[]): PciDevice | undefined {
  let nearest: PciDevice | undefined
  for (const device of devices) {
    const longer = nearest === undefined || device.path.length > nearest.path.length
    if (longer && path.startsWith(`${device.path}/`)) nearest = device
  }
  return nearest
}

/** Returns the lines of a file of any length that are not empty; `undefined` when it is absent or may not be read. */
export function readLines(reader: Reader, path: string): string[] | undefined {
  return reader
    .optionalBytes(path)
    ?.toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
}

/**
 * Returns what `read` gives, or `denied` when any of it may not be read. It serves the many files of other people's
 * processes: none of them is worth a remark of its own, and the caller itself says what is unknown then.
 */
export function unlessDenied<T, D>(reader: Reader, read: () => T, denied: D): T | D {
  const { length } = reader.denials
  const known = new Set(reader.denied.keys())
  try {
    const value = read()
    return reader.denials.length > length ? denied : value
  } catch (error) {
    if (!isDenied(error)) throw error
    return denied
  } finally {
    reader.denials.length = length
    for (const path of reader.denied.keys()) if (!known.has(path)) reader.denied.delete(path)
  }
}

/** Replaces octal escapes: `\040` in mount tables and fstab is a space (proc(5), fstab(5)). */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
