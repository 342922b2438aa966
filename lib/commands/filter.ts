import {
  CLASS_OPTIONS,
  type Filter,
  parseClass,
  parseGroup,
  parseId,
  parseSelector,
  selectDevices,
} from '../bind/select.ts'
import type { IommuGroup } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Arguments, Option } from '../terminal/options.ts'

/** The options by which a script selects devices; its operands are device arguments. */
export const FILTER_OPTIONS: readonly Option[] = [
  { name: 'gpu', kind: 'flag', help: 'display controllers (class 03: VGA, XGA, 3D, other)' },
  { name: 'usb', kind: 'flag', help: 'USB controllers (class 0c03)' },
  { name: 'net', kind: 'flag', help: 'network controllers (class 02)' },
  { name: 'nvme', kind: 'flag', help: 'NVMe controllers (class 0108)' },
  { name: 'audio', kind: 'flag', help: 'audio devices (classes 0401 and 0403)' },
  { name: 'class', kind: 'list', value: 'CLASS', help: 'class, or the start of one: 03, 0300, 010802' },
  { name: 'id', kind: 'list', value: 'ID', help: 'vendor and device ID: 10de:1cb6' },
  { name: 'driver', kind: 'list', value: 'NAME', help: 'driver in use; none: devices without one' },
  { name: 'group', kind: 'list', value: 'N', help: 'IOMMU group' },
  { name: 'with-group', kind: 'flag', help: 'widen each match to its whole IOMMU group' },
  { name: 'card', kind: 'flag', help: 'widen each match to all functions of its card' },
]

/** The option `--capture` of every script that only reads. */
export const CAPTURE_OPTION: Option = {
  name: 'capture',
  kind: 'value',
  value: 'DIR',
  help: 'write what was read to the new folder DIR, for --machine or a report',
}

/** The forms that DEVICE may have, for the end of the description in `--help`. */
export const DEVICE_HELP =
  'DEVICE is an address (0000:01:00.0, 01:00.0), a slot (01:00), an ID (10de:1cb6) or group:14.\n' +
  'Several options of one kind widen the choice (--gpu --usb), different kinds narrow it (--gpu --driver nouveau).'

/** Reads the filter from the arguments. Throws a UserError with code `usage`. */
export function filterFrom(given: Arguments): Filter {
  const named = Object.entries(CLASS_OPTIONS).flatMap(([name, classes]) => (given.flag(name) ? classes : []))
  return {
    classes: [...named, ...given.list('class').map(parseClass)],
    ids: given.list('id').map(parseId),
    drivers: given.list('driver'),
    groups: given.list('group').map(parseGroup),
    devices: given.operands.map(parseSelector),
    withGroup: given.flag('with-group'),
    card: given.flag('card'),
  }
}

/** Returns the devices that the filter selects; warns of arguments that name nothing, and when nothing is left. */
export function filterDevices(
  devices: readonly PciDevice[],
  filter: Filter,
  warn: (message: string) => void,
): PciDevice[] {
  const { devices: selected, missing } = selectDevices(devices, filter)
  for (const selector of missing) warn(`${selector}: no such device on this machine`)
  if (selected.length === 0) warn('nothing matches')
  return selected
}

/**
 * Returns the groups with their selected devices only. Members that are no PCI devices appear where their group is
 * whole; a group of nothing else matches no filter, and appears where every device is selected.
 */
export function selectedGroups(groups: readonly IommuGroup[], selected: readonly PciDevice[]): IommuGroup[] {
  const chosen = new Set(selected)
  const everything = groups.every((group) => group.devices.every((device) => chosen.has(device)))
  return groups
    .map((group) => {
      const devices = group.devices.filter((device) => chosen.has(device))
      if (devices.length === group.devices.length) return group
      return { ...group, devices, others: [] }
    })
    .filter((group) => group.devices.length > 0 || (everything && group.others.length > 0))
}
