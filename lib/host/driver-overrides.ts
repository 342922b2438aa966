import { dropInFolders } from './drop-ins.ts'
import { isAddress } from './pci.ts'
import type { Reader } from './reader.ts'

/** A driver that driverctl gives a function at each boot, from the file that says so. */
export interface DriverOverride {
  file: string
  /** The full address: `0000:01:00.0`. */
  address: string
  driver: string
}

const FOLDER = '/etc/driverctl.d'

/**
 * Returns what driverctl saved: a file a function, named `pci-0000:01:00.0` (by its first versions `0000:01:00.0`), that
 * holds the driver's name. They have an effect by driverctl's udev rule alone: without it there are none.
 * Source: driverctl(8); 05-driverctl.rules, driverctl@.service and driverctl 0.111 itself.
 */
export function readDriverOverrides(files: Reader): DriverOverride[] {
  if (!dropInFolders('udev/rules.d').some((folder) => files.exists(`${folder}/05-driverctl.rules`))) return []
  return (files.list(FOLDER) ?? []).flatMap((name): DriverOverride[] => {
    const file = `${FOLDER}/${name}`
    const address = name.replace(/^pci-/, '').toLowerCase()
    const driver = isAddress(address) ? files.optionalText(file)?.trim() : undefined
    return driver ? [{ file, address, driver }] : []
  })
}
