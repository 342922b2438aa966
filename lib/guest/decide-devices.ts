import { UserError } from '../core/error.ts'
import { type Remarks, supportsElseNote, type Versions } from '../core/versions.ts'
import type { DiskImage } from '../host/disk-images.ts'
import type { Hypervisor } from '../host/hypervisor.ts'
import { cardOf, isDisplay, type PciDevice } from '../host/pci.ts'
import type { UsbDevice } from '../host/usb.ts'
import type { Capabilities } from './capabilities.ts'
import type { Audio, Disk, Graphics, Guest, GuestCard, GuestFirmware, Nic, ScsiDevice, UsbChoice } from './guest.ts'
import type { GuestRequest, RequestedDevices } from './request.ts'

/** What is known of the devices and files that were named. */
export interface DeviceFacts {
  hypervisor: Hypervisor
  versions: Versions
  capabilities: Capabilities
  images: ReadonlyMap<string, DiskImage>
  plugged: readonly (UsbDevice & { bus: number; number: number })[]
  /** Path → host, bus, target, unit. */
  scsi: ReadonlyMap<string, readonly number[]>
  /** The user whose sound server plays: its number. */
  audioUid: number | null
}

export type DecidedDevices = Pick<
  Guest,
  | 'disks'
  | 'cdroms'
  | 'scsi'
  | 'nics'
  | 'cards'
  | 'usb'
  | 'evdev'
  | 'graphics'
  | 'audio'
  | 'frames'
  | 'shares'
  | 'usbController'
>

/** The devices of a guest. Throws a UserError for one that is not there or cannot be had. */
export function decideDevices(
  request: GuestRequest,
  requested: RequestedDevices,
  facts: DeviceFacts,
  rest: Remarks & { firmware: GuestFirmware },
): DecidedDevices {
  const { preset, headless } = request
  const cards = decideCards(request, requested, rest)
  const fresh = preset !== 'linux' && request.iso !== undefined && request.virtioIso === undefined
  const old = preset === 'windows7'
  if (fresh && !old)
    rest.reasons.push('SATA and e1000e: the installer has no virtio drivers, and no --virtio-iso brings them')
  if (old)
    rest.reasons.push("SATA, e1000 and USB 2: Windows 7 has no drivers for what came later, and virtio's are gone")
  const bus = request.diskBus ?? (fresh || old ? 'sata' : 'virtio')
  const model = request.nicModel ?? (old ? 'e1000' : fresh ? 'e1000e' : 'virtio')
  if (request.disks.length > 20) throw new UserError('usage', '--disk: 20 at most')
  const disks = request.disks.map((path) => decideDisk(path, bus, facts))
  const isos = [request.iso, request.virtioIso].filter((path) => path !== undefined)
  const graphics = headless ? null : decideGraphics(preset, facts.capabilities, rest)
  if (headless) rest.reasons.push('headless: no SPICE, video, tablet, USB redirection, or CD-ROMs of the installation')
  const first = cards.findIndex(({ boot }) => boot)
  return {
    disks,
    cdroms: headless ? [] : isos,
    scsi: request.optical.map((path) => decideScsi(path, facts)),
    nics: decideNics(request, model),
    cards: cards.map((card, index) => ({ ...card, boot: disks.length === 0 && index === first })),
    usb: request.usb.map((text) => decideUsb(text, facts, rest)),
    evdev: supportsElseNote(
      facts.versions,
      'evdev',
      'evdev input',
      request.evdev.length > 0 ? rest : { reasons: [], notes: [] },
    )
      ? [...request.evdev]
      : [],
    graphics,
    audio: decideAudio(request, facts, graphics, rest),
    frames: decideFrames(request, facts, rest),
    shares: supportsElseNote(
      facts.versions,
      'virtiofs',
      'virtiofs',
      request.shares.length > 0 ? rest : { reasons: [], notes: [] },
    )
      ? [...request.shares]
      : [],
    usbController: old ? 'ich9' : 'qemu-xhci',
  }
}

/** One card for each slot of the host; a virtual function is one of its own. */
export function decideCards(
  request: Pick<GuestRequest, 'rom' | 'xVga'>,
  { gpus, others }: RequestedDevices,
  { reasons, firmware }: Remarks & { firmware: GuestFirmware },
): GuestCard[] {
  const cards = new Map<string, PciDevice[]>()
  for (const device of [...gpus, ...others]) cards.set(cardOf(device), [...(cards.get(cardOf(device)) ?? []), device])
  if (request.rom !== undefined && gpus.length === 0) throw new UserError('usage', '--rom goes with --gpu')
  if (request.xVga && gpus.length === 0) throw new UserError('usage', '--x-vga goes with --gpu')
  if (request.xVga && firmware.kind !== 'bios')
    throw new UserError('usage', '--x-vga is for BIOS guests: add --firmware bios')
  const [display] = gpus.filter(isDisplay)
  return [...cards.values()].map((functions) => {
    if (functions.length > 1)
      reasons.push(
        `${functions.map(({ address }) => address).join(', ')}: on one slot of the guest, as they are on the host`,
      )
    return {
      functions: functions.map((device) => ({
        address: device.address,
        rom: device === display ? (request.rom ?? null) : null,
      })),
      xVga: request.xVga && functions.some((device) => device === display),
      boot: functions.some((device) => device.class.id.startsWith('0108')),
    }
  })
}

function decideDisk(path: string, bus: Disk['bus'], { images }: DeviceFacts): Disk {
  const image = images.get(path)
  return {
    path,
    bus,
    kind: image?.kind === 'block' || /^\/dev\/(?!shm\/)/.test(path) ? 'block' : 'file',
    format: image?.format ?? 'raw',
  }
}

function decideScsi(path: string, { scsi }: DeviceFacts): ScsiDevice {
  const [host, bus, target, unit] = scsi.get(path) ?? []
  if (host === undefined || bus === undefined || target === undefined || unit === undefined)
    throw new UserError('no-device', `--optical ${path}: no SCSI device; optical drives are /dev/sr0, /dev/sr1 …`)
  return { path, host, bus, target, unit }
}

const NIC_KINDS = ['network', 'bridge', 'macvtap', 'tap'] as const

/** `default`, `user`, `none`, `bridge:br0` and so on; each in turn, the MAC for the first. */
function decideNics({ networks, mac, format }: GuestRequest, model: string): Nic[] {
  const usual = format === 'qemu' ? 'user' : 'network:default'
  const nics = (networks.length === 0 ? [usual] : networks)
    .filter((text) => text !== 'none')
    .map((text, index): Nic => {
      const own = index === 0 ? (mac ?? null) : null
      if (text === 'user') return { kind: 'user', source: '', model, mac: own }
      const [, kind, source = ''] = /^([a-z]+):([A-Za-z0-9_][A-Za-z0-9_.@-]*)$/.exec(text) ?? []
      const known = NIC_KINDS.find((each) => each === kind)
      if (known === undefined || (known !== 'network' && source.length > 15))
        throw new UserError(
          'usage',
          `--network ${text}: write network:NAME, bridge:NAME, macvtap:INTERFACE, tap:NAME, user or none`,
        )
      return { kind: known, source, model, mac: own }
    })
  if (mac !== undefined && nics.length === 0) throw new UserError('usage', '--mac: there is no --network for it')
  return nics
}

function decideUsb(text: string, { plugged }: DeviceFacts, { reasons, notes }: Remarks): UsbChoice {
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
  notes.push(
    `--usb ${text}: another device has its ID, so it goes by its number, which changes when it is plugged in anew`,
  )
  return { bus: device.bus, device: device.number, port: text }
}

/** SPICE and QXL, where this QEMU has them (RHEL 9 and its kin do not); else VNC, and what any guest shows. */
function decideGraphics(preset: Guest['preset'], { graphics, video }: Capabilities, { notes }: Remarks): Graphics {
  const display = graphics === null || graphics.includes('spice') ? 'spice' : 'vnc'
  if (display === 'vnc')
    notes.push('VNC instead of SPICE, which QEMU here does not have: no sound and no USB redirection through it')
  const wished = preset === 'linux' ? (['virtio'] as const) : (['qxl', 'virtio'] as const)
  const models = [...wished, 'bochs', 'vga'] as const
  return { display, video: models.find((model) => video === null || video.includes(model)) ?? 'vga' }
}

function decideAudio(
  request: GuestRequest,
  { versions, audioUid }: DeviceFacts,
  graphics: Graphics | null,
  remarks: Remarks,
): Audio | null {
  const { audio, headless } = request
  if (audio === 'none' || (audio === undefined && headless)) return null
  if (graphics?.display === 'vnc' && audio === 'spice')
    throw new UserError('usage', '--audio spice: QEMU here has no SPICE; choose pipewire, pulseaudio or none')
  if (headless && audio === 'spice')
    throw new UserError(
      'usage',
      '--audio spice: a guest with --headless has no SPICE; choose pipewire, pulseaudio or none',
    )
  if (graphics?.display === 'vnc' && audio === undefined) return null
  if (audio === undefined || audio === 'spice') return { kind: 'spice', runtimeDir: null }
  if (!supportsElseNote(versions, audio === 'pipewire' ? 'pipewire' : 'audio', `${audio} sound`, remarks)) return null
  return { kind: audio, runtimeDir: `/run/user/${audioUid ?? 1000}` }
}

/** Two frames of four bytes a pixel and 10 MiB for the rest, up to a power of two (Looking Glass, docs/install). */
function decideFrames(
  { lookingGlass }: GuestRequest,
  { hypervisor }: DeviceFacts,
  { reasons }: Remarks,
): Guest['frames'] {
  if (lookingGlass === undefined) return null
  const { width, height } = lookingGlass
  const needed = (width * height * 4 * 2) / 1024 / 1024 + 10
  const mib = 2 ** Math.ceil(Math.log2(needed))
  const device = hypervisor.kvmfr ? 'kvmfr' : 'shm'
  reasons.push(
    `Looking Glass: ${width}×${height}×4×2 bytes and 10 MiB are ${needed.toFixed(1)} MiB, so ${mib} MiB, in ${device === 'kvmfr' ? '/dev/kvmfr0, which is there' : 'shared memory: /dev/kvmfr0 is not there'}`,
  )
  return { mib, device }
}
