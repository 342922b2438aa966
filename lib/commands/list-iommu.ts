import { type CardReset, judgeResets, readResetFacts } from '../bind/reset.ts'
import { readDriverModules } from '../host/driver-modules.ts'
import type { IommuGroup, IommuState } from '../host/iommu.ts'
import { readKernelLog } from '../host/kernel-log.ts'
import { readPciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { type PhysicalFunction, readPhysicalFunctions } from '../host/physical-functions.ts'
import { readUsbBuses, type UsbBus } from '../host/usb.ts'
import { formatFrom, type Option, usageError } from '../terminal/options.ts'
import { addressFormatter, deviceName } from '../views/devices.ts'
import { FORMATS, usbListing } from '../views/listing.ts'
import { sriovText } from '../views/sriov-listing.ts'
import { CAPTURE_OPTION, FILTER_OPTIONS, filterDevices, filterFrom, selectedGroups } from './filter.ts'
import type { Answer, Context } from './run-script.ts'

/** The value that `list-iommu --json` prints; `usb` is there with `--usb-ports`, `sriov` with `--sriov`. */
export interface ListIommu {
  schema: 'vfio-scripts/list-iommu/1'
  iommu: IommuState
  groups: IommuGroup[]
  ungrouped: PciDevice[]
  usb?: UsbBus[]
  sriov?: PhysicalFunction[]
}

export const LIST_OPTIONS: readonly Option[] = [
  ...FILTER_OPTIONS,
  {
    name: 'format',
    kind: 'value',
    choices: Object.keys(FORMATS),
    help: 'how to print (default table)',
  },
  { name: 'domains', kind: 'flag', help: 'addresses with their PCI domain even where there is only one' },
  { name: 'usb-ports', kind: 'flag', help: 'USB buses: controller, IOMMU group, what is plugged in where' },
  { name: 'sriov', kind: 'flag', help: 'virtual functions (SR-IOV): how many there are and could be, driver, guest' },
  CAPTURE_OPTION,
]

/** Answers list-iommu: the devices by group. */
export function answerListIommu({ arguments: given, machine, warn }: Context): Answer {
  const filter = filterFrom(given)
  const format = formatFrom(given, 'usb-ports', 'sriov')
  if (given.flag('usb-ports') && given.flag('sriov')) throw usageError('--usb-ports and --sriov: choose one')
  const facts = readPciFacts(machine, warn)
  // A capture must be enough for a prediction as well.
  if (given.value('capture') !== undefined) readDriverModules(machine.reader, facts.devices)
  const selected = filterDevices(facts.devices, filter, warn)
  const groups = selectedGroups(facts.groups, selected)
  const ungrouped = selected.filter((device) => device.group === null)
  const json: ListIommu = { schema: 'vfio-scripts/list-iommu/1', iommu: facts.iommu, groups, ungrouped }
  const buses = given.flag('usb-ports') ? readUsbBuses(machine.reader, selected, facts.devices) : undefined
  if (buses !== undefined) json.usb = buses
  const sriov = given.flag('sriov')
    ? readPhysicalFunctions(machine.reader, selected, facts.devices, deviceName)
    : undefined
  if (sriov !== undefined) json.sriov = sriov
  const resets = (): CardReset[] => {
    const { log } = readKernelLog(machine)
    const goes = selected.filter(({ bridge }) => !bridge)
    return judgeResets(facts.devices, goes, readResetFacts(machine.reader, facts.devices, goes, log), false)
  }
  const address = addressFormatter(facts.devices, given.flag('domains'))
  const listing = { facts, selected, groups, address, resets }
  if (!facts.iommu.enabled && format !== 'table') warn(`no IOMMU groups. ${facts.iommu.reason}`)
  return {
    code: facts.iommu.enabled && selected.length > 0 ? 0 : 1,
    json,
    text: (style) => {
      if (sriov !== undefined) return sriovText(style, sriov, listing.address)
      return buses === undefined ? (FORMATS[format]?.(listing, style) ?? '') : usbListing(listing, buses, style)
    },
  }
}
