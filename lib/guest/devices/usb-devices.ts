import { UserError } from '../../core/error.ts'
import type { Remarks } from '../../core/versions.ts'
import { readPlugged } from '../../host/usb.ts'
import { distinctValues, listOption } from '../guest-arguments.ts'
import { attribute, child } from '../libvirt/edit-document.ts'
import { type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { listSettings, splitProperties } from '../proxmox/vm-config.ts'
import type { BoardFacts, GuestDevice } from './guest-device.ts'

// The guest's USB controller, and the host's USB devices behind it.

type UsbChoice = { vendor: string; product: string } | { bus: number; device: number; port: string }

interface UsbFacts {
  plugged: ReturnType<typeof readPlugged>
}

interface DecidedUsb {
  usb: UsbChoice[]
  /** The USB controller: `ich9` for Windows 7, which has no driver for xHCI. */
  usbController: 'qemu-xhci' | 'ich9'
}

export const usbDevices: GuestDevice<UsbFacts, DecidedUsb> = {
  options: [listOption('usb', 'ID', 'a USB device by ID (046d:c52b) or port (1-2.4)')],
  read: ({ reader }, given) => ({ plugged: given.list('usb').length === 0 ? [] : readPlugged(reader) }),
  decide: (given, facts, remarks) => ({
    usb: distinctValues(given, 'usb').map((text) => decideUsb(text, facts, remarks)),
    usbController: facts.preset === 'windows7' ? 'ich9' : 'qemu-xhci',
  }),
  xml: ({ usb, usbController }) => [
    ...(usbController === 'qemu-xhci' ? [controllerElement('qemu-xhci')] : ICH9),
    ...usb.map(usbHostdev),
  ],
  match: { hostdev: ['@type', 'source/vendor', 'source/product', 'source/address'] },
  removes(element, named) {
    const half = (name: string): string =>
      Number(attribute(child(element, 'source', name), 'id') ?? Number.NaN)
        .toString(16)
        .padStart(4, '0')
    return attribute(element, 'type') === 'usb' && `${half('vendor')}:${half('product')}` === named.toLowerCase()
  },
  proxmox: ({ usb, usbController }, { host: { usbMappings }, present }) =>
    usb.map((one) => {
      const host = 'vendor' in one ? `${one.vendor}:${one.product}` : one.port
      const isSame = (value: string): boolean => {
        const { '': named, mapping } = splitProperties(value, 'host')
        const own = mapping === undefined ? named : usbMappings.find(({ name }) => name === mapping)?.path
        return own?.toLowerCase().replaceAll('0x', '') === host
      }
      const there = listSettings(present ?? new Map(), 'usb').some(({ value }) => isSame(value))
      return {
        name: 'usb',
        when: 'asked',
        value: there ? {} : { '': host },
        list: { most: usbController === 'ich9' ? 5 : 14, isSame },
      }
    }),
  qemu: ({ usb, usbController }) => [
    ['-device', usbController === 'qemu-xhci' ? 'qemu-xhci' : 'ich9-usb-ehci1'],
    ...usb.map((one) => [
      '-device',
      'vendor' in one
        ? `usb-host,vendorid=0x${one.vendor},productid=0x${one.product}`
        : `usb-host,hostbus=${one.bus},hostport=${one.port.replace(/^\d+-/, '')}`,
    ]),
  ],
}

function decideUsb(text: string, { plugged, format }: UsbFacts & BoardFacts, { reasons, notes }: Remarks): UsbChoice {
  const id = /^([0-9a-f]{4}):([0-9a-f]{4})$/.exec(text.toLowerCase())
  if (id !== null) {
    const [, vendor = '', product = ''] = id
    const same = plugged.filter((each) => each.id.vendor === vendor && each.id.product === product)
    if (same.length === 0) notes.push(`--usb ${text}: not plugged in now; the guest starts without it`)
    if (same.length > 1)
      throw new UserError(
        'two-devices',
        `--usb ${text}: there are ${same.length}; name one by port: ${same.map(({ port }) => port).join(', ')}`,
      )
    return { vendor, product }
  }
  if (!/^\d{1,3}-\d[\d.]*$/.test(text))
    throw new UserError(
      'usage',
      `--usb ${text}: write an ID (046d:c52b) or a port (1-2.4); list-iommu --usb-ports shows both`,
    )
  const device = plugged.find(({ port }) => port === text)
  if (device === undefined)
    throw new UserError('no-device', `--usb ${text}: nothing is plugged in there; list-iommu --usb-ports shows what is`)
  const { vendor, product } = device.id
  const alone = plugged.filter((each) => each.id.vendor === vendor && each.id.product === product).length === 1
  if (alone) {
    reasons.push(
      `USB port ${text} holds ${vendor}:${product}, the only one: it is found by ID wherever it is plugged in`,
    )
    return { vendor, product }
  }
  // QEMU and Proxmox take the port itself.
  if (format === 'libvirt')
    notes.push(
      `--usb ${text}: another device has its ID, so it goes by its number, which changes when it is plugged in anew`,
    )
  return { bus: device.bus, device: device.number, port: text }
}

function controllerElement(model: string, startport?: number): XmlElement {
  return xmlElement(
    'controller',
    { type: 'usb', index: 0, model },
    startport !== undefined && xmlElement('master', { startport }),
  )
}

const ICH9 = [
  controllerElement('ich9-ehci1'),
  ...[0, 2, 4].map((port, index) => controllerElement(`ich9-uhci${index + 1}`, port)),
]

function usbHostdev(choice: UsbChoice): XmlElement {
  const byId = 'vendor' in choice
  return xmlElement(
    'hostdev',
    { mode: 'subsystem', type: 'usb', managed: 'yes' },
    xmlElement(
      'source',
      byId ? { startupPolicy: 'optional' } : {},
      ...(byId
        ? [xmlElement('vendor', { id: `0x${choice.vendor}` }), xmlElement('product', { id: `0x${choice.product}` })]
        : [xmlElement('address', { bus: choice.bus, device: choice.device })]),
    ),
  )
}
