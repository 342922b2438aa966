import { UserError } from '../cli/error.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** Something that could not be seen: what follows from it is unknown, not false. */
export interface Unseen {
  /** `the open files of 212 processes`. */
  what: string
  /** Would root see it? */
  root: boolean
}

/** The device whose folder in sysfs a path is below: the nearest one, for behind Intel VMD there are two. */
export function ownerOf(path: string, devices: readonly PciDevice[]): PciDevice | undefined {
  let nearest: PciDevice | undefined
  for (const device of devices) {
    const longer = nearest === undefined || device.path.length > nearest.path.length
    if (longer && path.startsWith(`${device.path}/`)) nearest = device
  }
  return nearest
}

/** The lines of a file of any length that are not empty; `undefined` when it is absent or not ours to read. */
export function linesOf(reader: Reader, path: string): string[] | undefined {
  return reader
    .optionalBytes(path)
    ?.toString('utf8')
    .split('\n')
    .filter((line) => line !== '')
}

/**
 * What `read` gives, or `denied` when it may not be read. For the many files of other people's processes: none of
 * them is worth a remark of its own.
 */
export function unlessDenied<T, D>(read: () => T, denied: D): T | D {
  try {
    return read()
  } catch (error) {
    if (error instanceof UserError && error.code === 'denied') return denied
    throw error
  }
}

/** `\040` in mount tables and fstab is a space (proc(5), fstab(5)). */
export function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)))
}
