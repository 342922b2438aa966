// USB buses and what is plugged in, below their PCI controllers.
import type { FakeUsb, Machine } from '../machine.ts'
import type { Placed } from './place.ts'
import type { Tree } from './tree.ts'

export function writeUsb(tree: Tree, machine: Machine, placed: Map<string, Placed>): void {
  const paths = new Map<string, string>()
  const counts = new Map<string, number>()
  const names = Object.keys(machine.usb ?? {})
  // Root hubs first, then by depth, so that the folder above is known.
  const depth = (name: string): number => (name.startsWith('usb') ? 0 : name.split(/[-.]/).length)
  for (const name of names.sort((a, b) => depth(a) - depth(b))) {
    const device = machine.usb?.[name]
    if (device === undefined) continue
    const [, bus = '', port = '0'] = /^(?:usb)?(\d+)(?:-([\d.]+))?$/.exec(name) ?? []
    const path = name.startsWith('usb')
      ? `${placed.get(device.under ?? '')?.path}/${name}`
      : `${paths.get(aboveOf(name, bus))}/${name}`
    if (path.startsWith('undefined')) throw new Error(`${name}: nothing to plug it into`)
    paths.set(name, path)
    const devnum = device.devnum ?? (counts.get(bus) ?? 0) + 1
    counts.set(bus, Math.max(devnum, counts.get(bus) ?? 0))
    writeUsbDevice(tree, {
      name,
      path,
      bus,
      port,
      devnum,
      device: name.startsWith('usb') ? rootHub(machine, device) : device,
    })
  }
}

/** `1-2.4` hangs on `1-2`, `1-2` on `usb1`. */
function aboveOf(name: string, bus: string): string {
  return name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : `usb${bus}`
}

function rootHub(machine: Machine, device: FakeUsb): FakeUsb {
  const controller = machine.devices[device.under ?? '']
  const [kind, driver] = { '20': ['EHCI', 'ehci_hcd'], '00': ['UHCI', 'uhci_hcd'] }[
    controller?.class.slice(4) ?? ''
  ] ?? ['xHCI', 'xhci-hcd']
  return {
    id: Number(device.speed ?? '480') >= 5000 ? '1d6b:0003' : '1d6b:0002',
    manufacturer: `Linux ${machine.kernel} ${driver}`,
    product: `${kind} Host Controller`,
    serial: device.under ?? '',
    interfaces: ['hub'],
    ...device,
  }
}

interface PluggedIn {
  name: string
  path: string
  bus: string
  port: string
  devnum: number
  device: FakeUsb
}

function writeUsbDevice(tree: Tree, { name, path, bus, port, devnum, device }: PluggedIn): void {
  const [vendor = '0000', product = '0000'] = (device.id ?? '').split(':')
  const put = (file: string, text: string): void => tree.file(`${path}/${file}`, `${text}\n`)
  const bare = (hexadecimal: string): string => Number.parseInt(hexadecimal, 16).toString(16)
  const three = (value: string | number): string => String(value).padStart(3, '0')
  const interfaces = device.interfaces ?? []
  const deviceClass = interfaces.includes('hub') ? '09' : '00'
  const minor = (Number(bus) - 1) * 128 + devnum - 1
  put(
    'uevent',
    `MAJOR=189
MINOR=${minor}
DEVNAME=bus/usb/${three(bus)}/${three(devnum)}
DEVTYPE=usb_device
DRIVER=usb
PRODUCT=${bare(vendor)}/${bare(product)}/100
TYPE=${Number(deviceClass)}/0/0
BUSNUM=${three(bus)}
DEVNUM=${three(devnum)}`,
  )
  put('busnum', bus)
  put('devnum', String(devnum))
  put('devpath', port)
  put('idVendor', vendor)
  put('idProduct', product)
  put('bDeviceClass', deviceClass)
  put('speed', device.speed ?? '480')
  if (device.manufacturer !== undefined) put('manufacturer', device.manufacturer)
  if (device.product !== undefined) put('product', device.product)
  if (device.serial !== undefined) put('serial', device.serial)
  tree.link(`${path}/subsystem`, 'sys/bus/usb')
  tree.link(`${path}/driver`, 'sys/bus/usb/drivers/usb')
  tree.link(`sys/bus/usb/devices/${name}`, path)
  for (const [index, driver] of interfaces.entries()) {
    const face = `${name.startsWith('usb') ? `${bus}-0` : name}:1.${index}`
    tree.file(`${path}/${face}/uevent`, `DEVTYPE=usb_interface\nDRIVER=${driver}\n`)
    tree.file(`${path}/${face}/bInterfaceNumber`, `0${index}\n`)
    tree.link(`${path}/${face}/subsystem`, 'sys/bus/usb')
    tree.link(`${path}/${face}/driver`, `sys/bus/usb/drivers/${driver}`)
    tree.mkdir(`sys/bus/usb/drivers/${driver}`)
    tree.link(`sys/bus/usb/devices/${face}`, `${path}/${face}`)
  }
  tree.mkdir('sys/bus/usb/drivers/usb')
}
