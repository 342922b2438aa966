import type { Buffer } from 'node:buffer'
import { readHwdbProperty } from './hwdb-binary.ts'

// udev's hardware database: hwdb(7).

const FOLDERS = ['/usr/lib/udev/hwdb.d', '/lib/udev/hwdb.d', '/run/current-system/sw/lib/udev/hwdb.d']
const HWDB_DEVICES = '20-pci-vendor-model.hwdb'
const HWDB_CLASSES = '20-pci-classes.hwdb'
/** What systemd-hwdb(8) makes of all sources; the first one counts. */
const BINARIES = ['/etc/systemd/hwdb', '/etc/udev', '/usr/lib/systemd/hwdb', '/usr/lib/udev', '/lib/udev']

/**
 * A name database: `find('vendor', '10de')`, `find('device', '10de', '1cb6')`, `find('class', '03')`,
 * `find('class', '03', '00')`.
 */
export interface NameDatabase {
  find(kind: 'vendor' | 'device' | 'class', ...ids: string[]): string | null
  excerpts(): Map<string, string>
}

/** Opens the sources or, where a system has none, what was made of them; `read` gives a file's bytes. */
export function openHwdb(read: (path: string) => Buffer | undefined): NameDatabase | null {
  for (const folder of FOLDERS) {
    const devices = read(`${folder}/${HWDB_DEVICES}`)
    if (devices !== undefined) return openSources(folder, devices, read(`${folder}/${HWDB_CLASSES}`))
  }
  for (const folder of BINARIES) {
    const data = read(`${folder}/hwdb.bin`)
    if (data !== undefined) return openMade(data)
  }
  return null
}

/** Returns the line at an offset, without its end. */
export function lineAtOffset(data: Buffer, at: number): string {
  const end = data.indexOf('\n', at, 'latin1')
  return data.toString('utf8', at, end < 0 ? data.length : end)
}

/** Returns where a name stands: the file of the sources, its match and its property. */
function placeOf(kind: 'vendor' | 'device' | 'class', first?: string, second?: string): [string, string, string] {
  const id = (text: string | undefined): string => (text ?? '').toUpperCase().padStart(8, '0')
  if (kind === 'vendor') return [HWDB_DEVICES, `pci:v${id(first)}*`, 'ID_VENDOR_FROM_DATABASE']
  if (kind === 'device') return [HWDB_DEVICES, `pci:v${id(first)}d${id(second)}*`, 'ID_MODEL_FROM_DATABASE']
  const base = `pci:v*d*sv*sd*bc${first?.toUpperCase()}`
  return second === undefined
    ? [HWDB_CLASSES, `${base}*`, 'ID_PCI_CLASS_FROM_DATABASE']
    : [HWDB_CLASSES, `${base}sc${second.toUpperCase()}*`, 'ID_PCI_SUBCLASS_FROM_DATABASE']
}

/** Opens sources: a match line `pci:v000010DEd00001CB6*`, then ` ID_MODEL_FROM_DATABASE=name`. */
function openSources(folder: string, devices: Buffer, classes: Buffer | undefined): NameDatabase {
  return lookedUp(folder, (file, match, key) => {
    const data = file === HWDB_DEVICES ? devices : classes
    const hit = data?.indexOf(`\n${match}\n ${key}=`, 0, 'latin1') ?? -1
    if (data === undefined || hit < 0) return null
    // To systemd-hwdb a number sign starts a comment everywhere, also in `OHCI Controller #1`.
    return lineAtOffset(data, hit + match.length + key.length + 4).replace(/\s*#.*/, '')
  })
}

/** Opens what was made of the sources; what it gave is kept as a source. */
function openMade(data: Buffer): NameDatabase {
  return lookedUp(FOLDERS[0] ?? '', (_, match, key) => readHwdbProperty(data, match, key))
}

function lookedUp(folder: string, look: (file: string, match: string, key: string) => string | null): NameDatabase {
  const used = new Map<string, string>()
  return {
    find(...what) {
      const [file, match, key] = placeOf(...what)
      const name = look(file, match, key)
      const path = `${folder}/${file}`
      if (name !== null) used.set(path, `${used.get(path) ?? ''}\n${match}\n ${key}=${name}\n`)
      return name
    },
    excerpts: () => new Map(used),
  }
}
