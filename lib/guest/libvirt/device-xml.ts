import type { Card, Disk, Guest, Nic, ScsiDevice, UsbChoice } from '../guest.ts'
import { type Part, part } from './part.ts'

// The elements of devices, for new guests and for patches. Source: https://libvirt.org/formatdomain.html

/** Names our own elements, through libvirt too: it keeps aliases that begin so. */
const OURS = 'ua-vfio'

/** `0000:01:00.0` → the address on the host, as libvirt writes it. */
function hostAddress(address: string): Part {
  const [domain = '', bus = '', rest = ''] = address.split(':')
  const [slot = '', fn = ''] = rest.split('.')
  return part('address', { domain: `0x${domain}`, bus: `0x${bus}`, slot: `0x${slot}`, function: `0x${fn}` })
}

/** Where a card stands in the guest: a bus of its own behind a root port (q35), or a slot of the one bus (i440fx). */
export type Place = { port: number } | { slot: number }

/** Root ports of ours are called `ua-vfio-port-0000-01-00-0`, by the first function behind them. */
export const PORT_ALIAS = `${OURS}-port-`

const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`

/** The root port of a card; without `alias` before libvirt 3.9, which does not know them. */
export function rootPort(card: Card, port: number, alias: boolean): Part {
  const [first] = card.functions
  return part(
    'controller',
    { type: 'pci', index: port, model: 'pcie-root-port' },
    alias && first !== undefined && part('alias', { name: PORT_ALIAS + first.address.replace(/[:.]/g, '-') }),
  )
}

/** The functions of a card, on one slot, in the order of the host's; what is alone is function 0. */
export function hostdevs(card: Card, place: Place, order: number | null, alias: boolean): Part[] {
  const several = card.functions.length > 1
  return card.functions.map(({ address, rom }, index) =>
    part(
      'hostdev',
      { mode: 'subsystem', type: 'pci', managed: 'yes' },
      part('source', {}, hostAddress(address)),
      order !== null && index === 0 && part('boot', { order }),
      card.xVga && index === 0 && alias && part('alias', { name: `${OURS}-gpu` }),
      rom !== null && part('rom', { file: rom }),
      part('address', {
        type: 'pci',
        domain: '0x0000',
        bus: 'port' in place ? hex(place.port) : '0x00',
        slot: 'slot' in place ? hex(place.slot) : '0x00',
        // Function 0 must be there for a guest to look at the others.
        function: `0x${index}`,
        multifunction: several && index === 0 ? 'on' : null,
      }),
    ),
  )
}

export function usbHostdev(choice: UsbChoice): Part {
  const byId = 'vendor' in choice
  return part(
    'hostdev',
    { mode: 'subsystem', type: 'usb', managed: 'yes' },
    part(
      'source',
      byId ? { startupPolicy: 'optional' } : {},
      ...(byId
        ? [part('vendor', { id: `0x${choice.vendor}` }), part('product', { id: `0x${choice.product}` })]
        : [part('address', { bus: choice.bus, device: choice.device })]),
    ),
  )
}

/** libvirt's own choice would be a model that new guests have no driver for. */
export function scsiController(iothread: boolean): Part {
  return part(
    'controller',
    { type: 'scsi', index: 0, model: 'virtio-scsi' },
    iothread && part('driver', { iothread: 1 }),
  )
}

/** A SCSI device whole: burning and region codes work, which a CD-ROM image of the drive cannot do. */
export function scsiHostdev({ host, bus, target, unit }: ScsiDevice): Part {
  return part(
    'hostdev',
    { mode: 'subsystem', type: 'scsi', managed: 'no', rawio: 'no' },
    part('source', {}, part('adapter', { name: `scsi_host${host}` }), part('address', { bus, target, unit })),
    part('readonly'),
  )
}

export function diskPart({ path, kind, format, bus }: Disk, target: string, iothread: boolean, boot?: Part): Part {
  const block = kind === 'block'
  return part(
    'disk',
    { type: kind, device: 'disk' },
    part('driver', {
      name: 'qemu',
      type: format,
      cache: block ? 'none' : null,
      io: block ? 'native' : null,
      discard: 'unmap',
      iothread: iothread && bus === 'virtio' ? 1 : null,
    }),
    part('source', block ? { dev: path } : { file: path }),
    part('target', { dev: target, bus }),
    boot,
  )
}

const PREFIX = { virtio: 'vd', scsi: 'sd', sata: 'sd' } as const

/** Disks and CD-ROMs; names go on where others of the same kind stopped. `order` starts the boot order. */
export function diskParts(
  disks: readonly Disk[],
  cdroms: readonly string[],
  { order, cdromBus, iothread }: { order: number; cdromBus: string; iothread: boolean },
): Part[] {
  const used = { vd: 0, sd: 0 }
  const name = (prefix: 'vd' | 'sd'): string => `${prefix}${String.fromCharCode(97 + used[prefix]++)}`
  const own = disks.map((disk, index) =>
    diskPart(disk, name(PREFIX[disk.bus]), iothread, part('boot', { order: order + index })),
  )
  const images = cdroms.map((file, index) =>
    part(
      'disk',
      { type: 'file', device: 'cdrom' },
      part('driver', { name: 'qemu', type: 'raw' }),
      part('source', { file }),
      part('target', { dev: cdromBus === 'ide' ? `hd${String.fromCharCode(97 + index)}` : name('sd'), bus: cdromBus }),
      part('readonly'),
      index === 0 && part('boot', { order: order + own.length }),
    ),
  )
  return [...own, ...images]
}

export function nicPart({ kind, source, model, mac }: Nic): Part {
  const sources = {
    network: part('source', { network: source }),
    bridge: part('source', { bridge: source }),
    macvtap: part('source', { dev: source, mode: 'bridge' }),
    // A TAP device that somebody else made and configured.
    tap: part('target', { dev: source, managed: 'no' }),
    user: null,
  }
  const types = { network: 'network', bridge: 'bridge', macvtap: 'direct', tap: 'ethernet', user: 'user' }
  return part(
    'interface',
    { type: types[kind] },
    mac !== null && part('mac', { address: mac }),
    sources[kind],
    part('model', { type: model }),
  )
}

/** The first is what the others follow when both control keys are pressed. */
export function evdevPart(dev: string, first: boolean): Part {
  return part('input', { type: 'evdev' }, part('source', first ? { dev, grab: 'all', repeat: 'on' } : { dev }))
}

/** Shared memory of Looking Glass by libvirt's own element; kvmfr's goes through QEMU's arguments. */
export function shmemPart({ mib }: NonNullable<Guest['frames']>): Part {
  return part(
    'shmem',
    { name: 'looking-glass' },
    part('model', { type: 'ivshmem-plain' }),
    part('size', { unit: 'M' }, String(mib)),
  )
}

export function sharePart({ path, tag }: Guest['shares'][number]): Part {
  return part(
    'filesystem',
    { type: 'mount', accessmode: 'passthrough' },
    part('driver', { type: 'virtiofs' }),
    part('source', { dir: path }),
    part('target', { dir: tag }),
  )
}

export function tpmPart(): Part {
  return part('tpm', { model: 'tpm-crb' }, part('backend', { type: 'emulator', version: '2.0' }))
}

/** A sound card, and where its sound goes; SPICE's own needs no more words. */
export function soundParts(audio: Guest['audio'], model: string): Part[] {
  if (audio === null) return []
  if (audio.kind === 'spice') return [part('sound', { model })]
  const { kind, runtimeDir } = audio
  const server = kind === 'pipewire' ? { runtimeDir } : { serverName: `${runtimeDir}/pulse/native` }
  return [part('sound', { model }, part('audio', { id: 1 })), part('audio', { id: 1, type: kind, ...server })]
}
