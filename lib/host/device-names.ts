import type { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import { gunzip } from './gzip.ts'
import { lineAtOffset, type NameDatabase, openHwdb } from './hwdb.ts'
import type { Reader } from './reader.ts'

/** The names of numeric IDs (lower-case hex); `null` when no database knows one. */
export interface DeviceNames {
  vendor(vendor: string): string | null
  device(vendor: string, device: string): string | null
  /** Returns the name of a class of four digits: the subclass's name, else the base class's. */
  class(id: string): string | null
  /** Returns the path of each file that was read and the lines that gave a name so far. */
  excerpts(): Map<string, string>
}

// The paths at which distributions keep pci.ids: Debian, Fedora and Arch, Alpine and older Slackware, Gentoo and others
// (.gz), NixOS.
const PCI_IDS = [
  '/usr/share/misc/pci.ids',
  '/usr/share/hwdata/pci.ids',
  '/usr/share/pci.ids',
  '/usr/local/share/pci.ids',
  '/run/current-system/sw/share/hwdata/pci.ids',
  '/run/current-system/sw/share/pci.ids',
].flatMap((path) => [path, `${path}.gz`])

/**
 * Opens the name databases that one of `readers` has: pci.ids and, for what it lacks, udev's hwdb, as lspci asks udev;
 * then a small table of class names. Lookups search the file's bytes; nothing is parsed ahead. Format: pci.ids(5), hwdb(7). Throws a UserError with code `unreadable` for a .gz file that is not gzip.
 */
export function openDeviceNames(readers: readonly Reader[]): DeviceNames {
  const readFrom = (some: readonly Reader[], path: string): Buffer | undefined => {
    for (const reader of some) {
      const data = reader.optionalBytes(path)
      if (data === undefined) continue
      const text = path.endsWith('.gz') ? gunzip(data) : data
      if (text === undefined) throw new UserError('unreadable', `${path}: is no gzip file`)
      return text
    }
    return undefined
  }
  const openFirst = (): { names: NameDatabase; of: Reader } | null => {
    for (const of of readers)
      for (const path of PCI_IDS) {
        const data = readFrom([of], path)
        if (data !== undefined) return { names: openPciIds(path.replace(/\.gz$/, ''), data), of }
      }
    return null
  }
  const found = openFirst()
  const first = found?.names
  // It has megabytes, and is opened where a name is missing.
  let second: NameDatabase | null | undefined
  const further = (): NameDatabase | null => {
    // Of the machine whose pci.ids is used: another one's would say of a capture what it did not say there.
    if (second === undefined) second = openHwdb((path) => readFrom(found === null ? readers : [found.of], path))
    return second
  }
  return cachedNames({
    find: (...what) => first?.find(...what) ?? further()?.find(...what) ?? null,
    excerpts: () => new Map([...(first?.excerpts() ?? []), ...(second?.excerpts() ?? [])]),
  })
}

function cachedNames(source: NameDatabase): DeviceNames {
  const cache = new Map<string, string | null>()
  const find: NameDatabase['find'] = (kind, ...ids) => {
    const key = kind + ids.join(':')
    let name = cache.get(key)
    if (name === undefined) {
      name = source.find(kind, ...ids)
      cache.set(key, name)
    }
    return name
  }
  const subclass = (id: string): string | null => find('class', id.slice(0, 2), id.slice(2)) ?? SUBCLASSES[id] ?? null
  return {
    vendor: (vendor) => find('vendor', vendor),
    device: (vendor, device) => find('device', vendor, device),
    class: (id) => subclass(id) ?? find('class', id.slice(0, 2)) ?? CLASSES[id.slice(0, 2)] ?? null,
    excerpts: source.excerpts,
  }
}

/**
 * Opens pci.ids: `VVVV  name`, below it `\tDDDD  name`; classes stand at its end as `C CC  name`, `\tSS  name`. IDs are
 * sorted.
 */
function openPciIds(path: string, data: Buffer): NameDatabase {
  const classes = Math.max(0, data.lastIndexOf('\nC 00  ', undefined, 'latin1'))
  const used = new Map<number, string>()
  const blocks = new Map<string, { at: number; end: number } | null>()
  const take = (at: number, prefix: number): string => {
    const line = lineAtOffset(data, at)
    used.set(at, line)
    return line.slice(prefix).trim()
  }
  const block = (head: string): { at: number; end: number } | null => {
    let found = blocks.get(head)
    if (found === undefined) {
      const start = data.indexOf(`\n${head}  `, head.startsWith('C') ? classes : 0, 'latin1')
      found = start < 0 ? null : { at: start + 1, end: blockEnd(data, start + 1) }
      blocks.set(head, found)
    }
    return found
  }
  return {
    find(kind, first = '', second) {
      const head = kind === 'class' ? `C ${first}` : first
      const found = block(head)
      if (found === null) return null
      if (second === undefined) return take(found.at, head.length)
      const at = findLine(data, found.at, found.end, second)
      if (at < 0) return null
      take(found.at, 0)
      return take(at, 1 + second.length)
    },
    excerpts() {
      const lines = [...used].sort(([one], [other]) => one - other).map(([, line]) => `${line}\n`)
      // A lookup begins at a newline.
      return new Map([[path, `\n${lines.join('')}`]])
    },
  }
}

/**
 * Returns the offset of the next vendor or class. Its first digit is this one's or a later one, so that a few searches
 * for a newline and a digit find it; looking at every line takes ten times as long (Intel's block has 6,000).
 */
function blockEnd(data: Buffer, at: number): number {
  const digits = '0123456789abcdefC'
  for (const digit of digits.slice(digits.indexOf(String.fromCharCode(data[at] ?? 0)))) {
    const end = data.indexOf(`\n${digit}`, at, 'latin1')
    if (end >= 0) return end
  }
  return data.length
}

/** Finds the line `\tID  name` in a block by halving and returns its offset; -1 when it is not there. */
function findLine(data: Buffer, start: number, end: number, id: string): number {
  let low = start
  let high = end
  while (low < high) {
    const middle = (low + high) >> 1
    let newline = data.indexOf(10, middle)
    while (newline >= 0 && newline < high && (data[newline + 1] !== 9 || data[newline + 2] === 9)) {
      newline = data.indexOf(10, newline + 1)
    }
    if (newline < 0 || newline >= high) {
      high = middle
      continue
    }
    const found = data.toString('latin1', newline + 2, newline + 2 + id.length)
    if (found === id) return newline + 1
    if (found < id) low = newline + 1
    else high = middle
  }
  return -1
}

// The names for hosts without any database. Source: PCI Code and ID Assignment Specification.
const CLASSES: Record<string, string> = {
  '00': 'Unclassified device',
  '01': 'Mass storage controller',
  '02': 'Network controller',
  '03': 'Display controller',
  '04': 'Multimedia controller',
  '05': 'Memory controller',
  '06': 'Bridge',
  '07': 'Communication controller',
  '08': 'Generic system peripheral',
  '09': 'Input device controller',
  '0a': 'Docking station',
  '0b': 'Processor',
  '0c': 'Serial bus controller',
  '0d': 'Wireless controller',
  '0e': 'Intelligent controller',
  '0f': 'Satellite communications controller',
  '10': 'Encryption controller',
  '11': 'Signal processing controller',
  '12': 'Processing accelerators',
  '13': 'Non-Essential Instrumentation',
  '40': 'Coprocessor',
  ff: 'Unassigned class',
}
const SUBCLASSES: Record<string, string> = {
  '0104': 'RAID bus controller',
  '0106': 'SATA controller',
  '0107': 'Serial Attached SCSI controller',
  '0108': 'Non-Volatile memory controller',
  '0200': 'Ethernet controller',
  '0300': 'VGA compatible controller',
  '0302': '3D controller',
  '0380': 'Display controller',
  '0401': 'Multimedia audio controller',
  '0403': 'Audio device',
  '0600': 'Host bridge',
  '0601': 'ISA bridge',
  '0604': 'PCI bridge',
  '0c03': 'USB controller',
  '0c05': 'SMBus',
}
