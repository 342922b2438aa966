import type { Disk, Guest, GuestCard, Nic, ScsiDevice, UsbChoice } from '../guest.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// The elements of devices, for new guests and for patches. Source: https://libvirt.org/formatdomain.html

/** Names our own elements, through libvirt too: it keeps aliases that begin so. */
const OURS = 'ua-vfio'

/** `0000:01:00.0` → the address on the host, as libvirt writes it. */
function hostAddress(address: string): XmlElement {
  const [domain = '', bus = '', rest = ''] = address.split(':')
  const [slot = '', fn = ''] = rest.split('.')
  return xmlElement('address', { domain: `0x${domain}`, bus: `0x${bus}`, slot: `0x${slot}`, function: `0x${fn}` })
}

/** Where a card stands in the guest: a bus of its own behind a root port (q35), or a slot of the one bus (i440fx). */
export type GuestSlot = { port: number } | { slot: number }

/** Root ports of ours are called `ua-vfio-port-0000-01-00-0`, by the first function behind them. */
export const PORT_ALIAS = `${OURS}-port-`

const hexByte = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`

/** The root port of a card; without `alias` before libvirt 3.9, which does not know them. */
export function rootPort(card: GuestCard, port: number, alias: boolean): XmlElement {
  const [first] = card.functions
  return xmlElement(
    'controller',
    { type: 'pci', index: port, model: 'pcie-root-port' },
    alias && first !== undefined && xmlElement('alias', { name: PORT_ALIAS + first.address.replace(/[:.]/g, '-') }),
  )
}

/** The functions of a card, on one slot, in the order of the host's; what is alone is function 0. */
export function cardHostdevs(
  card: GuestCard,
  guestSlot: GuestSlot,
  order: number | null,
  alias: boolean,
): XmlElement[] {
  const several = card.functions.length > 1
  return card.functions.map(({ address, rom }, index) =>
    xmlElement(
      'hostdev',
      { mode: 'subsystem', type: 'pci', managed: 'yes' },
      xmlElement('source', {}, hostAddress(address)),
      order !== null && index === 0 && xmlElement('boot', { order }),
      card.xVga && index === 0 && alias && xmlElement('alias', { name: `${OURS}-gpu` }),
      rom !== null && xmlElement('rom', { file: rom }),
      xmlElement('address', {
        type: 'pci',
        domain: '0x0000',
        bus: 'port' in guestSlot ? hexByte(guestSlot.port) : '0x00',
        slot: 'slot' in guestSlot ? hexByte(guestSlot.slot) : '0x00',
        // Function 0 must be there for a guest to look at the others.
        function: `0x${index}`,
        multifunction: several && index === 0 ? 'on' : null,
      }),
    ),
  )
}

export function usbHostdev(choice: UsbChoice): XmlElement {
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

/** libvirt's own choice would be a model that new guests have no driver for. */
export function scsiController(iothread: boolean): XmlElement {
  return xmlElement(
    'controller',
    { type: 'scsi', index: 0, model: 'virtio-scsi' },
    iothread && xmlElement('driver', { iothread: 1 }),
  )
}

/** A SCSI device whole: burning and region codes work, which a CD-ROM image of the drive cannot do. */
export function scsiHostdev({ host, bus, target, unit }: ScsiDevice): XmlElement {
  return xmlElement(
    'hostdev',
    { mode: 'subsystem', type: 'scsi', managed: 'no', rawio: 'no' },
    xmlElement(
      'source',
      {},
      xmlElement('adapter', { name: `scsi_host${host}` }),
      xmlElement('address', { bus, target, unit }),
    ),
    xmlElement('readonly'),
  )
}

export function diskElement(
  { path, kind, format, bus }: Disk,
  target: string,
  iothread: boolean,
  boot?: XmlElement,
): XmlElement {
  const block = kind === 'block'
  return xmlElement(
    'disk',
    { type: kind, device: 'disk' },
    xmlElement('driver', {
      name: 'qemu',
      type: format,
      cache: block ? 'none' : null,
      io: block ? 'native' : null,
      discard: 'unmap',
      iothread: iothread && bus === 'virtio' ? 1 : null,
    }),
    xmlElement('source', block ? { dev: path } : { file: path }),
    xmlElement('target', { dev: target, bus }),
    boot,
  )
}

const PREFIX = { virtio: 'vd', scsi: 'sd', sata: 'sd' } as const

/** Disks and CD-ROMs; names go on where others of the same kind stopped. `order` starts the boot order. */
export function diskElements(
  disks: readonly Disk[],
  cdroms: readonly string[],
  { order, cdromBus, iothread }: { order: number; cdromBus: string; iothread: boolean },
): XmlElement[] {
  const used = { vd: 0, sd: 0 }
  const name = (prefix: 'vd' | 'sd'): string => `${prefix}${String.fromCharCode(97 + used[prefix]++)}`
  const own = disks.map((disk, index) =>
    diskElement(disk, name(PREFIX[disk.bus]), iothread, xmlElement('boot', { order: order + index })),
  )
  const images = cdroms.map((file, index) =>
    xmlElement(
      'disk',
      { type: 'file', device: 'cdrom' },
      xmlElement('driver', { name: 'qemu', type: 'raw' }),
      xmlElement('source', { file }),
      xmlElement('target', {
        dev: cdromBus === 'ide' ? `hd${String.fromCharCode(97 + index)}` : name('sd'),
        bus: cdromBus,
      }),
      xmlElement('readonly'),
      index === 0 && xmlElement('boot', { order: order + own.length }),
    ),
  )
  return [...own, ...images]
}

export function nicElement({ kind, source, model, mac }: Nic): XmlElement {
  const sources = {
    network: xmlElement('source', { network: source }),
    bridge: xmlElement('source', { bridge: source }),
    macvtap: xmlElement('source', { dev: source, mode: 'bridge' }),
    // A TAP device that somebody else made and configured.
    tap: xmlElement('target', { dev: source, managed: 'no' }),
    user: null,
  }
  const types = { network: 'network', bridge: 'bridge', macvtap: 'direct', tap: 'ethernet', user: 'user' }
  return xmlElement(
    'interface',
    { type: types[kind] },
    mac !== null && xmlElement('mac', { address: mac }),
    sources[kind],
    xmlElement('model', { type: model }),
  )
}

/** The first is what the others follow when both control keys are pressed. */
export function evdevElement(dev: string, first: boolean): XmlElement {
  return xmlElement(
    'input',
    { type: 'evdev' },
    xmlElement('source', first ? { dev, grab: 'all', repeat: 'on' } : { dev }),
  )
}

/** Shared memory of Looking Glass by libvirt's own element; kvmfr's goes through QEMU's arguments. */
export function shmemElement({ mib }: NonNullable<Guest['frames']>): XmlElement {
  return xmlElement(
    'shmem',
    { name: 'looking-glass' },
    xmlElement('model', { type: 'ivshmem-plain' }),
    xmlElement('size', { unit: 'M' }, String(mib)),
  )
}

export function shareElement({ path, tag }: Guest['shares'][number]): XmlElement {
  return xmlElement(
    'filesystem',
    { type: 'mount', accessmode: 'passthrough' },
    xmlElement('driver', { type: 'virtiofs' }),
    xmlElement('source', { dir: path }),
    xmlElement('target', { dir: tag }),
  )
}

export function tpmElement(): XmlElement {
  return xmlElement('tpm', { model: 'tpm-crb' }, xmlElement('backend', { type: 'emulator', version: '2.0' }))
}

/** A sound card, and where its sound goes; SPICE's own needs no more words. */
export function soundElements(audio: Guest['audio'], model: string): XmlElement[] {
  if (audio === null) return []
  if (audio.kind === 'spice') return [xmlElement('sound', { model })]
  const { kind, runtimeDir } = audio
  const server = kind === 'pipewire' ? { runtimeDir } : { serverName: `${runtimeDir}/pulse/native` }
  return [
    xmlElement('sound', { model }, xmlElement('audio', { id: 1 })),
    xmlElement('audio', { id: 1, type: kind, ...server }),
  ]
}
