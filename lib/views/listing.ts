import type { UsbBus } from '../host/usb.ts'
import type { TerminalStyle } from '../terminal/text.ts'
import { deviceTable, iommuLine, type Listing, lspciLine, usbText } from './devices.ts'
import { listingPage } from './html.ts'
import { pciTree, treeText } from './pci-tree.ts'
import { treeSvg } from './svg.ts'

/** The formats of list-iommu, each a view of the same listing. */
export const FORMATS: Record<string, (listing: Listing, style: TerminalStyle) => string> = {
  table({ facts, selected, groups, address }, style) {
    const ungrouped = selected.filter((device) => device.group === null)
    const table = selected.length === 0 ? '' : `${deviceTable(style, groups, ungrouped, address)}\n`
    return table + iommuLine(style, facts.iommu, facts.groups.length, facts.devices.length)
  },
  /** The output of the guides' loop: `IOMMU Group N ` and what `lspci -nns ADDRESS` prints. */
  lspci({ groups, address }) {
    const lines = groups.flatMap(({ id, devices }) =>
      devices.map((device) => `IOMMU Group ${id} ${lspciLine(device, address(device.address))}\n`),
    )
    return lines.join('')
  },
  addresses: ({ selected }) => selected.map((device) => `${device.address}\n`).join(''),
  ids: ({ selected }) => [...new Set(selected.map(({ vendor, device }) => `${vendor.id}:${device.id}\n`))].join(''),
  tree: ({ facts, selected, address }, look) => treeText(look, pciTree(facts.devices, selected), address),
  html: (listing) => listingPage(listing),
  svg: ({ facts, selected, address }) => treeSvg(pciTree(facts.devices, selected), address),
}

/** Returns the view of --usb-ports. */
export function usbListing({ facts, address }: Listing, buses: readonly UsbBus[], style: TerminalStyle): string {
  const groups = new Map(facts.devices.map((device) => [device.address, device.group]))
  return usbText(style, buses, (controller) => groups.get(controller) ?? null, address)
}
