import type { Topology } from '../cpu/cores.ts'
import type { Pinning } from '../cpu/pinning.ts'

export const PRESETS = ['windows11', 'windows10', 'windows8', 'windows7', 'linux'] as const
export type Preset = (typeof PRESETS)[number]

/** A guest without its devices, decided: plain data. */
export interface GuestBoard {
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
  /** The topology of its vCPUs that the guest sees; the product is their number. */
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
  /** The name that CPUID gives instead of `Microsoft Hv`; `null`: none. */
  vendorId: string | null
  /** Is KVM's own CPUID signature hidden? */
  hideKvm: boolean
  /** Is the interrupt controller in the kernel, for drivers that a split one upsets? */
  ioapicKvm: boolean
  /** Does the clock hold local time? */
  localtime: boolean
  /** Is the timer that Windows reads switched on? `null`: neither asked for nor switched off. */
  hypervclock: boolean | null
  /** OVMF's 64-bit window for BARs, in MiB; `null`: its own will do. */
  mmio64Mib: number | null
}

/** A disk of a guest: a block device or an image of the host. */
export interface GuestDisk {
  path: string
  kind: 'file' | 'block'
  format: 'raw' | 'qcow2'
  bus: 'virtio' | 'scsi' | 'sata'
}

/** A feature that libvirt is asked to look for in the descriptions of images, or to avoid. */
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
