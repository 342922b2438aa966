import type { CardReset } from '../bind/reset.ts'
import type { IommuGroup, IommuState } from '../host/iommu.ts'
import type { PciFacts } from '../host/machine.ts'
import { domainOf, type PciDevice } from '../host/pci.ts'
import type { UsbBus } from '../host/usb.ts'
import { type Cell, type Color, paint, printable, type TerminalStyle, table } from '../terminal/text.ts'

/** Returns a writer of addresses as lspci shows them: with the domain only where there are several, or when asked. */
export function addressFormatter(devices: readonly PciDevice[], domains: boolean): (address: string) => string {
  const full = domains || devices.some((device) => domainOf(device.address) !== '0000')
  return (address) => (full ? address : address.slice(5))
}

/** The devices that list-iommu found and was asked to show. */
export interface Listing {
  facts: PciFacts
  selected: readonly PciDevice[]
  /** The groups of the selected devices, with these only. */
  groups: readonly IommuGroup[]
  address: ReturnType<typeof addressFormatter>
  /** Judges the resets of the cards that are shown. */
  resets: () => readonly CardReset[]
}

/** Returns `NVIDIA GP107GL [Quadro P620]`, or what is known of it; the vendor's name is short, as columns are. */
export function deviceName({ vendor, device }: PciDevice): string {
  if (vendor.name === null) return 'Device'
  return `${shortVendor(vendor.name)} ${device.name ?? 'Device'}`
}

/** Shortens `Advanced Micro Devices, Inc. [AMD/ATI]` to `AMD/ATI`, `Intel Corporation` to `Intel`. */
function shortVendor(name: string): string {
  const known = /\[([^\]]+)\]$/.exec(name)?.[1]
  return (
    known ??
    (name.replace(/,? (?:Corporation|Corp|Company|Incorporated|Inc|Limited|Ltd|LLC|Co|GmbH|AG|S\.?A)\b.*$/, '') || name)
  )
}

/** Returns one line of `lspci -nns`: `01:00.0 VGA compatible controller [0300]: NVIDIA … [10de:1cb6] (rev a1)`. */
export function lspciLine(device: PciDevice, address: string): string {
  const { vendor, device: product, class: type } = device
  const revision = device.revision === null || device.revision === '00' ? '' : ` (rev ${device.revision})`
  const name = vendor.name === null ? 'Device' : `${vendor.name} ${product.name ?? 'Device'}`
  const id = `${vendor.id}:${product.id}`
  return printable(`${address} ${type.name ?? 'Class'} [${type.id}]: ${name} [${id}]${revision}`)
}

const COLUMNS = [
  { title: 'GROUP', align: 'right' },
  { title: 'ADDRESS' },
  { title: 'CLASS', least: 10, drop: 3 },
  { title: 'DEVICE', least: 16, want: 32 },
  { title: 'ID', drop: 1 },
  { title: 'REV', drop: 5 },
  { title: 'DRIVER', least: 8 },
  { title: 'MODULES', least: 8, drop: 4 },
  { title: 'RESET', least: 5, drop: 2 },
  // Who may lose the screen by it has to see that: `boot-vga…` at least.
  { title: 'NOTES', least: 9 },
] as const

/** Returns the table of list-iommu: groups in order, then devices without one. */
export function deviceTable(
  style: TerminalStyle,
  groups: readonly IommuGroup[],
  ungrouped: readonly PciDevice[],
  address: (address: string) => string,
): string {
  const rows: Cell[][] = []
  for (const group of groups) {
    let title: Cell = { text: String(group.id), color: group.isolated ? 'green' : undefined }
    const push = (cells: Cell[]): void => {
      rows.push([title, ...cells])
      title = { text: '' }
    }
    for (const device of group.devices) push(deviceCells(device, address(device.address), group.isolated))
    for (const other of group.others) {
      const kind = other.bus === 'mdev' ? 'Mediated device' : `Device on bus ${other.bus ?? '?'}`
      push([{ text: '-' }, { text: kind }, { text: other.name }])
    }
  }
  for (const device of ungrouped) rows.push([{ text: '-' }, ...deviceCells(device, address(device.address), false)])
  return table(style, COLUMNS, rows)
}

function deviceCells(device: PciDevice, address: string, isolated: boolean | null): Cell[] {
  const color: Color | undefined = device.bridge ? 'dim' : undefined
  const { supported, methods } = device.reset
  const reset = supported === null ? '?' : supported ? (methods?.join(',') ?? 'yes') : 'no'
  const notes = [device.bootVga && 'boot-vga', isolated && !device.bridge && 'isolated', device.bridge && 'bridge']
  return [
    { text: address, color: device.bridge ? 'dim' : 'bold' },
    { text: device.class.name ?? `Class ${device.class.id}`, color },
    { text: deviceName(device), color },
    { text: `${device.vendor.id}:${device.device.id}`, color },
    { text: device.revision ?? '?', color },
    { text: device.driver ?? '-', color: driverColor(device.driver) },
    { text: device.modules === null ? '?' : device.modules.join(',') || '-', color },
    { text: reset, color },
    { text: notes.filter(Boolean).join(' '), color: device.bootVga ? 'yellow' : color },
  ]
}

function driverColor(driver: string | null): Color | undefined {
  if (driver === null) return 'dim'
  return driver.startsWith('vfio') || driver.endsWith('-vfio-pci') ? 'green' : 'cyan'
}

/** Returns `IOMMU: Intel VT-d, on`, or why it is off. */
export function iommuLine(style: TerminalStyle, iommu: IommuState, groups: number, devices: number): string {
  const kinds = {
    intel: 'Intel VT-d',
    amd: 'AMD-Vi',
    arm: 'Arm SMMU',
    virtio: 'virtio-iommu',
    other: 'of another kind',
  }
  if (iommu.enabled) {
    const kind = iommu.kind === null ? 'on' : `${kinds[iommu.kind]}, on`
    return `${paint(style, 'bold', `IOMMU: ${kind}`)} (${groups} groups, ${devices} devices)\n`
  }
  const head = iommu.enabled === null ? 'IOMMU groups: unknown.' : 'No IOMMU groups.'
  return `${paint(style, 'yellow', head)} ${printable(iommu.reason ?? '')}\n`
}

/** Returns USB buses with what is plugged into them: plug something in and see where it turns up. */
export function usbText(
  style: TerminalStyle,
  buses: readonly UsbBus[],
  groupOf: (address: string) => number | null,
  address: (address: string) => string,
): string {
  if (buses.length === 0) return 'No USB buses.\n'
  let text = ''
  for (const { bus, speed, controller, devices } of buses) {
    const group = controller === null ? null : groupOf(controller)
    const place =
      controller === null
        ? 'no PCI controller'
        : `${address(controller)}, ${group === null ? 'no IOMMU group' : `IOMMU group ${group}`}`
    text += `${paint(style, 'bold', `Bus ${bus}`)} → ${place}${speed === null ? '' : ` (${printable(speed)} Mbit/s)`}\n`
    for (const { port, id, manufacturer, product, hub } of devices) {
      const name = [manufacturer, product].filter(Boolean).join(' ') || (hub ? 'hub' : '')
      const line = `  port ${port.slice(port.indexOf('-') + 1)}  ${id.vendor}:${id.product}  ${name}`
      text += `${printable(line).trimEnd()}\n`
    }
    if (devices.length === 0) text += '  nothing plugged in\n'
  }
  return text
}
