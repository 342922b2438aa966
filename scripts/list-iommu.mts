#!/usr/bin/env node
import {
  CAPTURE_OPTION,
  DEVICE_HELP,
  FILTER_OPTIONS,
  filterDevices,
  filterFrom,
  selectedGroups,
} from '../lib/commands/filter.ts'
import { type Answer, type Context, runCli } from '../lib/commands/run-script.ts'
import type { IommuGroup, IommuState } from '../lib/host/iommu.ts'
import { readPciFacts } from '../lib/host/machine.ts'
import type { PciDevice } from '../lib/host/pci.ts'
import { readUsbBuses, type UsbBus } from '../lib/host/usb.ts'
import { thisProcess } from '../lib/terminal/caller.ts'
import { formatFrom, type Script } from '../lib/terminal/options.ts'
import { addressFormatter } from '../lib/views/devices.ts'
import { FORMATS, usbListing } from '../lib/views/listing.ts'

/** What `list-iommu --json` prints. `usb` is there with `--usb-ports`. */
export interface ListIommu {
  schema: 'vfio-scripts/list-iommu/1'
  iommu: IommuState
  groups: IommuGroup[]
  ungrouped: PciDevice[]
  usb?: UsbBus[]
}

const script: Script = {
  name: 'list-iommu',
  summary: `Lists PCI devices by IOMMU group: what this machine can pass through to a guest.\n${DEVICE_HELP}`,
  operands: 'DEVICE',
  options: [
    ...FILTER_OPTIONS,
    {
      name: 'format',
      kind: 'value',
      choices: Object.keys(FORMATS),
      help: 'how to print (default table)',
    },
    { name: 'domains', kind: 'flag', help: 'addresses with their PCI domain even where there is only one' },
    { name: 'usb-ports', kind: 'flag', help: 'USB buses: controller, IOMMU group, what is plugged in where' },
    CAPTURE_OPTION,
  ],
  isReadOnly: () => true,
  exits: [
    'the devices are in IOMMU groups, and something matched',
    'no IOMMU groups, or nothing matched',
    'could not look',
  ],
  examples: [
    ['list-iommu --gpu --card', 'graphics cards with all their functions'],
    ['list-iommu --gpu --driver nouveau --format addresses', 'one address a line, for other scripts'],
  ],
}

function answerListIommu({ arguments: given, machine, warn }: Context): Answer {
  const filter = filterFrom(given)
  const format = formatFrom(given, 'usb-ports')
  const facts = readPciFacts(machine, warn)
  const selected = filterDevices(facts.devices, filter, warn)
  const groups = selectedGroups(facts.groups, selected)
  const ungrouped = selected.filter((device) => device.group === null)
  const json: ListIommu = { schema: 'vfio-scripts/list-iommu/1', iommu: facts.iommu, groups, ungrouped }
  const buses = given.flag('usb-ports') ? readUsbBuses(machine.reader, selected, facts.devices) : undefined
  if (buses !== undefined) json.usb = buses
  const listing = { facts, selected, groups, address: addressFormatter(facts.devices, given.flag('domains')) }
  if (!facts.iommu.enabled && format !== 'table') warn(`no IOMMU groups. ${facts.iommu.reason}`)
  return {
    code: facts.iommu.enabled && selected.length > 0 ? 0 : 1,
    json,
    text: (style) =>
      buses === undefined ? (FORMATS[format]?.(listing, style) ?? '') : usbListing(listing, buses, style),
  }
}

runCli(script, thisProcess(import.meta.url), answerListIommu)
