import { UserError } from '../core/error.ts'
import { type DeviceNames, openDeviceNames } from './device-names.ts'
import { type IommuGroups, type IommuState, readIommuGroups, readIommuMembers, readIommuState } from './iommu.ts'
import { readIommuBits } from './iommu-width.ts'
import { kernelRelease } from './kernel.ts'
import { type ModuleTables, readModuleTables } from './modules.ts'
import { type PciDevice, readPciDevices } from './pci.ts'
import type { Reader } from './reader.ts'
import { withSwitchCards } from './switch-cards.ts'
import { openReader } from './sysroot.ts'

/** A machine to look at: the readers and what is read through them. */
export interface Machine {
  /** The reader of /proc and /sys: those of the capture, if one is used. */
  reader: Reader
  /** The reader of the system's own files: /etc, /boot, /lib/modules. */
  files: Reader
  /** Is this the system that runs here? */
  running: boolean
  /** The output of programs on the running machine, by the file in which a capture has it. */
  programOutput: Map<string, string>
  deviceNames: DeviceNames
  modules: ModuleTables
  /** Returns all remarks on this machine for standard error: what may not be read. */
  remarks(): string[]
  /** Returns the databases that names and modules came from. */
  tables(): string[]
}

/** The facts that every script starts from. */
export interface PciFacts extends IommuGroups {
  devices: PciDevice[]
  /** The addresses of devices that are there, but may not be read. */
  unread: string[]
  iommu: IommuState
  /** The address bits of the narrowest IOMMU; `null` when they are not known. */
  iommuBits: number | null
}

/**
 * Opens the machine under `root`, or the captured one in `machine`. Name and module databases are looked for in the
 * capture first, then under `root`. Throws a UserError with code `unreadable` when a folder cannot be read.
 */
export function openMachine(options: {
  root?: string | undefined
  machine?: string | undefined
  record?: boolean
  /** Is a file that may not be read taken as absent, with a remark? */
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

/** Returns the warnings of a plan about what it was made without. */
export function unreadWarnings(machine: Machine): string[] {
  return deniedOf(machine).map((message) => `Not seen, and the plan may be another one: ${message}: run as root.`)
}

/**
 * Throws a UserError with code `denied` when a plan was made without all that it goes by: such a plan may be shown, but
 * not done.
 */
export function expectAllRead(machine: Machine): void {
  const [first] = deniedOf(machine)
  if (first !== undefined) throw new UserError('denied', `${first}: the plan is made by it`)
}

/**
 * Reads PCI devices, IOMMU groups, and whether the IOMMU is on. `warn` is told of devices that vanished meanwhile.
 * Throws the UserErrors of `readPciDevices` and `readIommuMembers`.
 */
export function readPciFacts(machine: Machine, warn: (message: string) => void): PciFacts {
  const members = readIommuMembers(machine.reader)
  const groupOf = new Map([...members].flatMap(([id, names]) => names.map((name) => [name, id] as const)))
  const { devices: functions, unread } = readPciDevices(machine, warn, groupOf)
  const devices = withSwitchCards(functions)
  const groups = readIommuGroups(machine.reader, members, devices, unread)
  const iommu = readIommuState(machine.reader, groups)
  return { devices, unread, ...groups, iommu, iommuBits: readIommuBits(machine.reader) }
}
