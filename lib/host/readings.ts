import { isDenied } from './errno.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** Something that could not be seen: what follows from it is unknown, not false. */
export interface Unreadable {
  /** `the open files of 212 processes`. */
  what: string
  /** Would root see it? */
  root: boolean
}

/** The device whose folder in sysfs a path is below: the nearest one, for behind Intel VMD there are two. */
export function deviceAbove(path: string, devices: readonly PciDevice[]): PciDevice | undefined {
  let nearest: PciDevice | undefined
  for (const device of devices) {
    const longer = nearest === undefined || device.path.length > nearest.path.length
    if (longer && path.startsWith(`${device.path}/`)) nearest = device
  }
  return nearest
}

/** The lines of a file of any length that are not empty; `undefined` when it is absent or not ours to read. */
export function readLines(reader: Reader, path: string): string[] | undefined {
  return reader
    .optionalBytes(path)
    ?.toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
}

/**
 * What `read` gives, or `denied` when any of it may not be read. For the many files of other people's processes: none of
 * them is worth a remark of its own, and who asks says itself what is unknown then.
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

/** `\040` in mount tables and fstab is a space (proc(5), fstab(5)). */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
