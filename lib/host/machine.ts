import { UserError } from '../core/error.ts'
import { type DeviceNames, openDeviceNames } from './device-names.ts'
import { type IommuGroups, type IommuState, readIommuGroups, readIommuState } from './iommu.ts'
import { readIommuBits } from './iommu-width.ts'
import { kernelRelease } from './kernel.ts'
import { type ModuleTables, readModuleTables } from './modules.ts'
import { type PciDevice, readPciDevices } from './pci.ts'
import type { Reader } from './reader.ts'
import { openReader } from './sysroot.ts'

/** A machine to look at: the readers and what is read through them. */
export interface Machine {
  /** /proc and /sys: of the capture, if one is used. */
  reader: Reader
  /** The system's own files: /etc, /boot, /lib/modules. */
  files: Reader
  /** Is this the system that runs here? */
  running: boolean
  /** What programs told of the running machine, by the file that a capture has it in. */
  programOutput: Map<string, string>
  deviceNames: DeviceNames
  modules: ModuleTables
  /** All that is said on standard error about this machine: what vanished, what was not ours to read. */
  remarks(): string[]
  /** The databases that names and modules came from. */
  tables(): string[]
}

/** What every script starts from. */
export interface PciFacts extends IommuGroups {
  devices: PciDevice[]
  /** Addresses of devices that are there, and were not ours to look at. */
  unread: string[]
  iommu: IommuState
  /** Address bits of the narrowest; `null`: not known. */
  iommuBits: number | null
}

/**
 * Opens the machine under `root`, or the captured one in `machine`. Name and module databases are looked for in the
 * capture first, then under `root`. Throws a UserError when a folder cannot be read.
 */
export function openMachine(options: {
  root?: string | undefined
  machine?: string | undefined
  record?: boolean
  /** What may not be read is as absent, and a remark. */
  lenient?: boolean
}): Machine {
  const { root = '/', machine, record = false, lenient = false } = options
  const reader = openReader(machine ?? root, { record, lenient })
  const files = machine === undefined ? reader : openReader(root, { lenient })
  const readers = [...new Set([reader, files])]
  const names = openDeviceNames(readers)
  const modules = readModuleTables(readers, kernelRelease(reader))
  return {
    reader,
    files,
    running: root === '/' && machine === undefined,
    programOutput: new Map(),
    deviceNames: names,
    modules,
    tables: () => [...names.excerpts().keys(), ...modules.excerpts().keys()],
    remarks: () =>
      [...new Set(readers.flatMap(({ denied }) => [...denied.values()]))].map((message) => `${message}: try as root`),
  }
}

const deniedOf = ({ reader, files }: Machine): string[] => [
  ...new Set([...reader.denied.values(), ...files.denied.values()]),
]

/** For a plan: what it was made without. */
export function unreadWarnings(machine: Machine): string[] {
  return deniedOf(machine).map((message) => `Not seen, and the plan may be another one: ${message}: run as root.`)
}

/** Throws a UserError with code `denied` when a plan was made without all that it goes by: it may be shown, not done. */
export function expectAllRead(machine: Machine): void {
  const [first] = deniedOf(machine)
  if (first !== undefined) throw new UserError('denied', `${first}: the plan is made by it`)
}

/** PCI devices, IOMMU groups, and whether the IOMMU is on. `warn` is told of devices that vanished meanwhile. */
export function readPciFacts(machine: Machine, warn: (message: string) => void): PciFacts {
  const { devices, unread } = readPciDevices(machine, warn)
  const groups = readIommuGroups(machine.reader, devices, unread)
  const iommu = readIommuState(machine.reader, groups)
  return { devices, unread, ...groups, iommu, iommuBits: readIommuBits(machine.reader) }
}
