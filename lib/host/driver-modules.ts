import { UserError } from '../core/error.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** Which modules are loaded, and which of them have the drivers of PCI devices. Names of modules have `_`. */
export interface DriverModules {
  /** `null`: the tree does not say. */
  loaded: ReadonlySet<string> | null
  /** The module of each driver that has a device; `null`: it is built into the kernel. Not known: no entry. */
  moduleOf: ReadonlyMap<string, string | null>
}

const DRIVERS = '/sys/bus/pci/drivers'

/** Reads the modules of a machine's drivers. Source: Documentation/ABI/testing/sysfs-module, sysfs-bus-pci. */
export function readDriverModules(reader: Reader, devices: readonly PciDevice[]): DriverModules {
  const drivers = [...new Set(devices.flatMap(({ driver }) => driver ?? []))]
  const links = drivers.map((driver) => {
    const path = `${DRIVERS}/${driver}/module`
    return [driver, ifPermitted(reader, path, () => reader.linkName(path))] as const
  })
  // A tree that has no such link at all was captured without them.
  const isWhole = links.some(([, module]) => module !== undefined)
  const names = ifPermitted(reader, '/sys/module', () => reader.list('/sys/module'))
  return {
    loaded: names === undefined ? null : new Set(names),
    moduleOf: new Map(
      links.flatMap(([driver, module]) =>
        isWhole && !reader.denied.has(`${DRIVERS}/${driver}/module`) ? [[driver, module ?? null]] : [],
      ),
    ),
  }
}

/** Returns what was read; what may not be read is not known, and is remembered. */
function ifPermitted<T>(reader: Reader, path: string, read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'denied') throw error
    reader.denied.set(path, error.message)
    return undefined
  }
}
