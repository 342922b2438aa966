import type { Topology } from '../cpu/cores.ts'
import type { Pinning } from '../cpu/pinning.ts'

/** What a guest is, decided: plain data that is written as libvirt XML (xml.ts) or as a QEMU command line. */

export const PRESETS = ['windows11', 'windows10', 'windows8', 'windows7', 'linux'] as const
export type Preset = (typeof PRESETS)[number]

export interface Guest {
  name: string
  preset: Preset
  chipset: 'q35' | 'i440fx'
  firmware: GuestFirmware
  memory: {
    kib: number
    /** The page size, in KiB, where the guest's memory is hugepages. */
    hugepageKib: number | null
    /** Must other processes map it (virtiofs)? */
    shared: boolean
  }
  vcpus: number
  /** As the guest sees its vCPUs: the product is their number. */
  topology: Topology
  /** Does the guest need the CPU feature `topoext` to believe its threads (AMD)? */
  topoext: boolean
  /** Address bits of the guest's CPU, where it must have fewer than the host's. */
  addressBits: number | null
  /** `host-passthrough`, or a model that QEMU knows: `core2duo`. */
  cpuModel: string
  pinning: Pinning | null
  /** Windows only; `null`: the flags are left off. */
  hyperv: HypervFlag[] | null
  /** What CPUID says instead of `Microsoft Hv`. */
  vendorId: string | null
  /** Is KVM's own CPUID signature hidden? */
  hideKvm: boolean
  /** The interrupt controller in the kernel, for drivers that are upset by a split one. */
  ioapicKvm: boolean
  /** Does the clock hold local time? */
  localtime: boolean
  /** The timer that Windows reads; `null`: neither asked for nor switched off. */
  hypervclock: boolean | null
  tpm: boolean
  disks: Disk[]
  cdroms: string[]
  /** SCSI devices that are passed on whole: optical drives that write. */
  scsi: ScsiDevice[]
  nics: Nic[]
  cards: GuestCard[]
  usb: UsbChoice[]
  /** The host's input devices, taken while both control keys were pressed last in the guest. */
  evdev: string[]
  /** Display, video card and tablet, with SPICE USB redirection too: what an installation needs. */
  graphics: Graphics | null
  audio: Audio | null
  /** Looking Glass. */
  frames: { mib: number; device: 'kvmfr' | 'shm' } | null
  shares: { path: string; tag: string }[]
  /** OVMF's 64-bit window for BARs, in MiB; `null`: its own will do. */
  mmio64Mib: number | null
  /** Windows 7 has no driver for xHCI. */
  usbController: 'qemu-xhci' | 'ich9'
}

/** What libvirt is asked to look for in the descriptions of images, or to stay away from. */
export type ImageFeature = readonly [name: 'secure-boot' | 'enrolled-keys', wanted: boolean]

export type GuestFirmware =
  | { kind: 'bios' }
  /** libvirt chooses the files. */
  | { kind: 'auto'; secure: boolean; features: readonly ImageFeature[] }
  /** `secure`: is Secure Boot wanted? `smm`: does the image start with SMM only? */
  | {
      kind: 'files'
      secure: boolean
      smm: boolean
      format: 'raw' | 'qcow2'
      code: string
      vars: string
      nvram: string
    }

export interface Graphics {
  display: 'spice' | 'vnc'
  video: 'qxl' | 'virtio' | 'bochs' | 'vga'
}

export const HYPERV_FLAGS = [
  'relaxed',
  'vapic',
  'spinlocks',
  'vpindex',
  'runtime',
  'synic',
  'stimer',
  'frequencies',
  'tlbflush',
  'ipi',
  'evmcs',
  'avic',
] as const
export type HypervFlag = (typeof HYPERV_FLAGS)[number]

export interface Disk {
  path: string
  kind: 'file' | 'block'
  format: 'raw' | 'qcow2'
  bus: 'virtio' | 'scsi' | 'sata'
}

export interface ScsiDevice {
  path: string
  /** Host, bus, target, unit: its name in /sys/bus/scsi. */
  host: number
  bus: number
  target: number
  unit: number
}

export interface Nic {
  kind: 'network' | 'bridge' | 'macvtap' | 'tap' | 'user'
  /** The network, bridge, host interface or TAP device; empty for `user`. */
  source: string
  model: string
  mac: string | null
}

/** The functions of a host's card, on one slot of the guest. */
export interface GuestCard {
  functions: { address: string; rom: string | null }[]
  /** Legacy VGA through this card (BIOS guests). */
  xVga: boolean
  /** Boots from it, where the guest has no disk: an NVMe drive. */
  boot: boolean
}

export type UsbChoice = { vendor: string; product: string } | { bus: number; device: number; port: string }

export interface Audio {
  kind: 'pipewire' | 'pulseaudio' | 'spice'
  /** `/run/user/1000`: where the sound server of a user listens; unused for SPICE. */
  runtimeDir: string | null
}
