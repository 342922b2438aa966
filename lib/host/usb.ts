import { compareAddresses, isAddress, type PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** A device that is plugged into a USB port. IDs are four hex digits; names come from the device itself. */
export interface UsbDevice {
  /** The port as the kernel names it: `BUS-PORT[.PORT…]`. */
  port: string
  id: { vendor: string; product: string }
  manufacturer: string | null
  product: string | null
  /** Is it a hub? Its base class code is then 9 (decimal). */
  hub: boolean
}

/** One USB bus (a root hub) and the PCI function that drives it. */
export interface UsbBus {
  bus: number
  /** The speed in Mbit/s: `480`, `10000` … */
  speed: string | null
  /** The address of that function; `null` for a controller that is no PCI device. */
  controller: string | null
  devices: UsbDevice[]
}

const DEVICES = '/sys/bus/usb/devices'

/**
 * Returns the USB buses by controller, then number: those of the selected devices, and those of controllers that are no
 * PCI devices when all devices are selected. Source: Documentation/ABI/stable/sysfs-bus-usb.
 */
export function readUsbBuses(reader: Reader, selected: readonly PciDevice[], all: readonly PciDevice[]): UsbBus[] {
  const required = new Set(selected.map((device) => device.address))
  const names = reader.list(DEVICES) ?? []
  const buses: UsbBus[] = []
  for (const name of names) {
    const number = /^usb(\d+)$/.exec(name)?.[1]
    const path = number === undefined ? undefined : reader.resolve(`${DEVICES}/${name}`)
    if (number === undefined || path === undefined) continue
    const controller = path.split('/').reverse().find(isAddress) ?? null
    if (controller === null ? selected.length < all.length : !required.has(controller)) continue
    const devices = names.filter((device) => device.startsWith(`${number}-`) && !device.includes(':'))
    buses.push({
      bus: Number(number),
      speed: reader.text(`${path}/speed`) ?? null,
      controller,
      devices: devices
        .map((device) => readUsbDevice(reader, device))
        .filter((device) => device !== undefined)
        .sort((one, other) => comparePorts(one.port, other.port)),
    })
  }
  return buses.sort(
    (one, other) => compareAddresses(one.controller ?? '', other.controller ?? '') || one.bus - other.bus,
  )
}

function readUsbDevice(reader: Reader, port: string): UsbDevice | undefined {
  const path = reader.resolve(`${DEVICES}/${port}`)
  const read = (name: string): string | undefined => reader.text(`${path}/${name}`)?.trim()
  const [vendor, product] = [read('idVendor'), read('idProduct')]
  if (path === undefined || vendor === undefined || product === undefined) return undefined
  return {
    port,
    id: { vendor, product },
    manufacturer: read('manufacturer') ?? null,
    product: read('product') ?? null,
    hub: read('bDeviceClass') === '09',
  }
}

/** Orders `1-2` before `1-10`. */
function comparePorts(one: string, other: string): number {
  return one.localeCompare(other, 'en', { numeric: true })
}

/** Returns everything that is plugged in now, except hubs, with the numbers by which libvirt finds it. */
export function readPlugged(reader: Reader): (UsbDevice & { bus: number; number: number })[] {
  return (reader.list(DEVICES) ?? []).flatMap((port) => {
    const bus = /^(\d+)-[\d.]+$/.exec(port)?.[1]
    const device = bus === undefined ? undefined : readUsbDevice(reader, port)
    if (device === undefined || device.hub) return []
    const number = Number(reader.text(`${reader.resolve(`${DEVICES}/${port}`)}/devnum`))
    return [{ ...device, bus: Number(bus), number }]
  })
}
