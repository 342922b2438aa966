import { UserError } from '../core/error.ts'
import type { ModuleKey } from './modules.ts'
import type { Reader } from './reader.ts'

/** The IDs of a PCI function and the driver that has it. */
export interface Identity extends ModuleKey {
  driver: string | null
}

/**
 * Reads the identity of the function in this folder of sysfs; `undefined` when it is not there or says nothing. Throws
 * a UserError with code `unreadable` for an ID that is not a hex number.
 */
export function readIdentity(reader: Reader, path: string): Identity | undefined {
  const uevent = reader.text(`${path}/uevent`)
  return (uevent && fromUevent(path, uevent)) || fromAttributes(reader, path)
}

/** Reads class, IDs and driver from one file (drivers/pci/pci-driver.c, pci_uevent). */
function fromUevent(path: string, uevent: string): Identity | undefined {
  const pciClass = /^PCI_CLASS=(.*)$/m.exec(uevent)?.[1]
  const id = /^PCI_ID=(.*)$/m.exec(uevent)?.[1]
  const subsystem = /^PCI_SUBSYS_ID=(.*)$/m.exec(uevent)?.[1]
  if (pciClass === undefined || id === undefined) return undefined
  const [vendor = '', device = ''] = id.split(':')
  const [subVendor, subDevice] = subsystem?.split(':') ?? []
  const file = `${path}/uevent`
  return {
    pciClass: parseHexId(file, pciClass, 6),
    vendor: parseHexId(file, vendor, 4),
    device: parseHexId(file, device, 4),
    subsystem:
      subVendor === undefined || subDevice === undefined
        ? null
        : { vendor: parseHexId(file, subVendor, 4), device: parseHexId(file, subDevice, 4) },
    driver: /^DRIVER=(.*)$/m.exec(uevent)?.[1] ?? null,
  }
}

/** Reads one file for each fact, in trees without uevent (older captures). */
function fromAttributes(reader: Reader, path: string): Identity | undefined {
  const read = (name: string, digits: number): string | undefined => {
    const text = reader.text(`${path}/${name}`)
    return text === undefined ? undefined : parseHexId(`${path}/${name}`, text, digits)
  }
  const [pciClass, vendor, device] = [read('class', 6), read('vendor', 4), read('device', 4)]
  if (pciClass === undefined || vendor === undefined || device === undefined) return undefined
  const [subVendor, subDevice] = [read('subsystem_vendor', 4), read('subsystem_device', 4)]
  return {
    pciClass,
    vendor,
    device,
    subsystem: subVendor && subDevice ? { vendor: subVendor, device: subDevice } : null,
    driver: reader.linkName(`${path}/driver`) ?? null,
  }
}

/**
 * Returns an ID in lower case, padded to `digits`: `0x10DE` or `10DE` → `10de`. Throws a UserError with code
 * `unreadable` that names the file for anything else.
 */
export function parseHexId(file: string, text: string, digits: number): string {
  const value = /^(?:0x)?([0-9a-f]+)$/i.exec(text.trim())?.[1]?.toLowerCase().padStart(digits, '0')
  if (value === undefined || value.length !== digits) {
    throw new UserError(
      'unreadable',
      `${file}: ${JSON.stringify(text.slice(0, 40))} is not a number of ${digits} hex digits`,
    )
  }
  return value
}
