// What gen-domain may be asked for together, and what cannot be: for its XML's judges.
import lt from 'semver/functions/lt.js'
import { SITUATION_NAMES, type SituationName } from './firmware.ts'
import { pairwise, type Row } from './pairs.ts'

const IMAGES = '/var/lib/libvirt/images'
const ISO = ['--iso', `${IMAGES}/windows.iso`]
const FILE = ['--disk', `${IMAGES}/guest.qcow2`]
const GPU = ['--gpu', '02:00']

/** Fedora's images are qcow2. */
const QCOW2 = /images here are qcow2, which libvirt uses from 9\.2 on/
const old = (version: string): boolean => lt(version, '9.2.0')

/** Option → its settings by name, as arguments: what is decided where nobody asks comes first. */
const OPTIONS = {
  guest: {
    linux: ['--guest', 'linux'],
    windows11: ['--guest', 'windows11'],
    windows10: ['--guest', 'windows10'],
    windows8: ['--guest', 'windows8'],
    windows7: ['--guest', 'windows7'],
  },
  boots: {
    efi: ['--firmware', 'efi'],
    bios: ['--firmware', 'bios'],
    loader: ['--loader', '/usr/share/OVMF/OVMF_CODE_4M.fd'],
  },
  chipset: { q35: [], i440fx: ['--chipset', 'i440fx'] },
  card: {
    none: [],
    gpu: GPU,
    rom: [...GPU, '--rom', `${IMAGES}/card.rom`],
    'x-vga': [...GPU, '--x-vga'],
    usb: ['--pci', '00:08.0'],
    both: [...GPU, '--pci', '00:08.0'],
  },
  display: { usual: [], headless: ['--headless'] },
  sound: {
    usual: [],
    none: ['--audio', 'none'],
    spice: ['--audio', 'spice'],
    pulseaudio: ['--audio', 'pulseaudio', '--audio-user', 'ada'],
    pipewire: ['--audio', 'pipewire'],
  },
  network: {
    usual: [],
    bridge: ['--network', 'bridge:br0'],
    macvtap: ['--network', 'macvtap:enp4s0'],
    tap: ['--network', 'tap:tap0'],
    user: ['--network', 'user', '--network', 'bridge:br0'],
    none: ['--network', 'none'],
  },
  nic: { usual: [], e1000e: ['--nic-model', 'e1000e'], rtl8139: ['--nic-model', 'rtl8139'] },
  mac: { any: [], own: ['--mac', '52:54:00:12:34:56'] },
  tpm: { usual: [], asked: ['--tpm'] },
  cpus: {
    usual: [],
    pinned: ['--vcpus', '8', '--prefer', 'cache'],
    odd: ['--vcpus', '3', '--pin', 'none'],
    'one-thread': ['--cores', '3', '--one-thread'],
    all: ['--pin', 'all-cores'],
  },
  model: { host: [], core2duo: ['--cpu', 'core2duo'] },
  memory: {
    usual: [],
    small: ['--memory', '1G'],
    '2M': ['--memory', '2G', '--hugepages', '2M'],
    '1G': ['--memory', '8G', '--hugepages', '1G'],
  },
  disk: { none: [], file: FILE, block: ['--disk', '/dev/sdb'], two: [...FILE, '--disk', '/dev/sdb'] },
  bus: { usual: [], virtio: ['--disk-bus', 'virtio'], scsi: ['--disk-bus', 'scsi'], sata: ['--disk-bus', 'sata'] },
  medium: { none: [], iso: ISO, drivers: [...ISO, '--virtio-iso', `${IMAGES}/virtio-win.iso`] },
  optical: { none: [], drive: ['--optical', '/dev/sr0'] },
  usb: { none: [], port: ['--usb', '1-1'], twin: ['--usb', '1-3'], absent: ['--usb', '1234:5678'] },
  input: { usual: [], evdev: ['--evdev', '/dev/input/by-id/a-event-kbd'] },
  frames: { none: [], asked: ['--looking-glass', '1920x1080'] },
  share: { none: [], folder: ['--share', '/srv/games:games'] },
  hiding: {
    none: [],
    kvm: ['--hide-kvm'],
    name: ['--vendor-id', 'Some One'],
    old: ['--nvidia-driver', '430'],
    new: ['--nvidia-driver', '535.171.04'],
  },
} as const satisfies Record<string, Record<string, readonly string[]>>

/** Why two settings are refused together, whatever the others are; `when`: with which libvirt. */
const REFUSED: readonly [pair: Row, says: RegExp, when?: (version: string) => boolean][] = [
  [{ guest: 'windows11', boots: 'bios' }, /Windows 11 wants UEFI and Secure Boot/],
  [{ guest: 'windows11', chipset: 'i440fx' }, /Secure Boot, which needs q35/],
  [{ guest: 'windows11', card: 'x-vga' }, /--x-vga is for BIOS guests/],
  [{ guest: 'windows11', firmware: 'none' }, /a UEFI image with Secure Boot .* not found on this host/],
  [{ guest: 'windows11', firmware: 'fedora' }, QCOW2, old],
  [{ boots: 'efi', card: 'x-vga' }, /--x-vga is for BIOS guests/],
  [{ boots: 'loader', card: 'x-vga' }, /--x-vga is for BIOS guests/],
  [{ boots: 'efi', firmware: 'none' }, /a UEFI image and its variables: not found on this host; install OVMF/],
  [{ boots: 'efi', firmware: 'fedora' }, QCOW2, old],
  ...SITUATION_NAMES.filter((name) => name !== 'debian').map((firmware): [Row, RegExp] => [
    { boots: 'loader', firmware },
    /OVMF_CODE_4M\.fd: not found on this host/,
  ]),
  [{ display: 'headless', sound: 'spice' }, /--audio spice: a guest with --headless has no SPICE/],
  [{ network: 'none', mac: 'own' }, /--mac: there is no --network for it/],
]

const FACTORS: Record<string, readonly string[]> = {
  firmware: ['debian', ...SITUATION_NAMES.filter((name) => name !== 'debian')],
  ...Object.fromEntries(Object.entries(OPTIONS).map(([name, values]) => [name, Object.keys(values)])),
}

/**
 * Options and firmware situations: every two settings at least once, but for those that are refused together. `only`:
 * instead of all settings of these.
 */
export function combinations(version: string, only: Record<string, readonly string[]> = {}): Row[] {
  const refused = refusals(version)
  const holds = (row: Row, pair: Row): boolean => Object.entries(pair).every(([name, value]) => row[name] === value)
  return pairwise({ ...FACTORS, ...only }, (row) => refused.some(({ pair }) => holds(row, pair)))
}

/** Those, each alone, and what is said of it. */
export function refusals(version: string): { pair: Row; says: RegExp }[] {
  return REFUSED.filter(([, , when]) => when?.(version) ?? true).map(([pair, says]) => ({ pair, says }))
}

export const situationOf = (row: Row): SituationName => (row.firmware ?? 'debian') as SituationName

/** What gen-domain is asked with; factors that a row leaves out are as nobody asks. */
export function argumentsOf(row: Row): string[] {
  return Object.entries(OPTIONS).flatMap(([name, values]) => {
    const settings: Record<string, readonly string[]> = values
    return settings[row[name] ?? Object.keys(settings)[0] ?? ''] ?? []
  })
}

/** The row, without what nobody asked for. */
export function title(row: Row): string {
  return Object.entries(row)
    .filter(([name, value]) => value !== FACTORS[name]?.[0])
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}
