import type { PinRequest } from '../cpu/pinning.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Guest, Preset } from './guest.ts'

/** What somebody asked for, checked for form; what is left out is decided from the host and the preset. */
export interface GuestRequest {
  name: string
  preset: Preset
  /** What is printed: XML for libvirt, or a shell program that starts QEMU. */
  format: 'libvirt' | 'qemu'
  chipset: Guest['chipset']
  firmware: 'efi' | 'bios' | undefined
  loader: string | undefined
  cpuModel: string | undefined
  tpm: boolean
  memoryKib: number | undefined
  hugepageKib: number | undefined
  pin: Omit<PinRequest, 'node'> | undefined
  headless: boolean
  disks: readonly string[]
  diskBus: 'virtio' | 'scsi' | 'sata' | undefined
  iso: string | undefined
  virtioIso: string | undefined
  optical: readonly string[]
  networks: readonly string[]
  nicModel: string | undefined
  mac: string | undefined
  rom: string | undefined
  xVga: boolean
  usb: readonly string[]
  evdev: readonly string[]
  audio: 'none' | 'pipewire' | 'pulseaudio' | 'spice' | undefined
  audioUser: string | undefined
  lookingGlass: { width: number; height: number } | undefined
  shares: readonly { path: string; tag: string }[]
  hideKvm: boolean
  vendorId: string | undefined
  nvidiaDriver: string | undefined
}

/** The chosen devices: graphics cards, and any other. */
export interface RequestedDevices {
  gpus: readonly PciDevice[]
  others: readonly PciDevice[]
}
