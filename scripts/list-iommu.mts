#!/usr/bin/env node
import { addressStyle, deviceTable, iommuLine, lspciLine, usbText } from '../lib/cli/devices.ts'
import { UserError } from '../lib/cli/error.ts'
import {
  CAPTURE_OPTION,
  chooseDevices,
  chosenGroups,
  DEVICE_HELP,
  FILTER_OPTIONS,
  filterFrom,
} from '../lib/cli/filter.ts'
import type { Script } from '../lib/cli/options.ts'
import { type Answer, type Context, run } from '../lib/cli/run.ts'
import { treeSvg } from '../lib/cli/svg.ts'
import type { Look } from '../lib/cli/text.ts'
import { pciTree, treeText } from '../lib/cli/tree.ts'
import type { IommuGroup, IommuState } from '../lib/host/iommu.ts'
import { readPciFacts } from '../lib/host/machine.ts'
import type { PciDevice } from '../lib/host/pci.ts'
import { readUsbBuses, type UsbBus } from '../lib/host/usb.ts'

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
      choices: ['table', 'lspci', 'addresses', 'ids', 'tree', 'svg'],
      help: 'how to print (default table)',
    },
    { name: 'domains', kind: 'flag', help: 'addresses with their PCI domain even where there is only one' },
    { name: 'usb-ports', kind: 'flag', help: 'USB buses: controller, IOMMU group, what is plugged in where' },
    CAPTURE_OPTION,
  ],
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

function answer({ arguments: given, machine, warn }: Context): Answer {
  const filter = filterFrom(given)
  const format = given.value('format') ?? 'table'
  if (given.flag('json') && given.value('format') !== undefined)
    throw new UserError('usage', '--json and --format: choose one')
  const facts = readPciFacts(machine, warn)
  const picked = chooseDevices(facts.devices, filter, warn)
  const groups = chosenGroups(facts.groups, picked)
  const ungrouped = picked.filter((device) => device.group === null)
  const usb = given.flag('usb-ports') ? readUsbBuses(machine.reader) : undefined
  const json: ListIommu = {
    schema: 'vfio-scripts/list-iommu/1',
    iommu: facts.iommu,
    groups,
    ungrouped,
    ...(usb && { usb }),
  }
  const style = addressStyle(facts.devices, given.flag('domains'))
  const text = (look: Look): string => {
    if (usb !== undefined)
      return usbText(
        look,
        usb,
        (address) => facts.devices.find((device) => device.address === address)?.group ?? null,
        style,
      )
    if (format === 'addresses') return picked.map((device) => `${device.address}\n`).join('')
    if (format === 'ids')
      return [...new Set(picked.map((device) => `${device.vendor.id}:${device.device.id}\n`))].join('')
    if (format === 'tree') return treeText(look, pciTree(facts.devices, picked), style)
    if (format === 'svg') return treeSvg(pciTree(facts.devices, picked), style)
    if (format === 'lspci') {
      return groups
        .flatMap(({ id, devices }) =>
          devices.map((device) => `IOMMU Group ${id} ${lspciLine(device, style(device.address))}\n`),
        )
        .join('')
    }
    const table = picked.length === 0 ? '' : deviceTable(look, groups, ungrouped, style)
    return `${table}${table && '\n'}${iommuLine(look, facts.iommu, facts.groups.length, facts.devices.length)}`
  }
  if (!facts.iommu.enabled && format !== 'table') warn(`no IOMMU groups. ${facts.iommu.reason}`)
  return { code: facts.iommu.enabled && picked.length > 0 ? 0 : 1, json, text }
}

run(script, import.meta.url, answer)
