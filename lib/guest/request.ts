import coerce from 'semver/functions/coerce.js'
import { parseSize } from '../core/sizes.ts'
import type { PinRequest } from '../cpu/pinning.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Arguments } from '../terminal/options.ts'
import type { GuestBoard, Preset } from './guest.ts'
import { pathValue, readValue, requestUsageError, shapedValue } from './guest-arguments.ts'
import type { NetworkFunction } from './network-functions.ts'

/** The options of the guest's board, checked for form; what is left out is decided from the host and the preset. */
export interface BoardRequest {
  name: string
  preset: Preset
  /** The output: XML for libvirt, or a shell program that starts QEMU. */
  format: 'libvirt' | 'qemu'
  chipset: GuestBoard['chipset']
  firmware: 'efi' | 'bios' | undefined
  loader: string | undefined
  cpuModel: string | undefined
  memoryKib: number | undefined
  hugepageKib: number | undefined
  pin: Omit<PinRequest, 'node'> | undefined
  hideKvm: boolean
  vendorId: string | undefined
  nvidiaDriver: string | undefined
}

/** The PCI devices that were named: graphics cards, and any other; virtual functions were chosen. */
export interface RequestedDevices {
  gpus: readonly PciDevice[]
  others: readonly PciDevice[]
  /** What is known of those of them that are virtual functions of network cards. */
  networks: readonly NetworkFunction[]
  /** Notes on how virtual functions were chosen. */
  notes: readonly string[]
}

/** Reads the options of the board. Throws a UserError with code `usage` for what has the wrong form. */
export function requestBoard(given: Arguments): BoardRequest {
  return {
    name:
      shapedValue(given, 'name', /^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}$/, 'letters, digits and . _ + -, 64 at most') ??
      '',
    preset: (given.value('guest') ?? 'linux') as Preset,
    format: (given.value('format') ?? 'libvirt') as BoardRequest['format'],
    chipset: (given.value('chipset') ?? 'q35') as BoardRequest['chipset'],
    firmware: given.value('firmware') as BoardRequest['firmware'],
    loader: pathValue(given, 'loader'),
    cpuModel: shapedValue(given, 'cpu', /^[A-Za-z0-9][A-Za-z0-9_.-]{0,40}$/, "a model as QEMU's -cpu help lists them"),
    memoryKib: readValue(given, 'memory', (text) => kibOf('memory', text, 64 * 1024)),
    hugepageKib: readValue(given, 'hugepages', (text) => kibOf('hugepages', text, 1024)),
    pin: pinFrom(given),
    hideKvm: given.flag('hide-kvm'),
    vendorId: shapedValue(given, 'vendor-id', /^[A-Za-z0-9 _.-]{1,12}$/, '1 to 12 letters, digits, spaces or . _ -'),
    nvidiaDriver: shapedValue(given, 'nvidia-driver', /^\d{3}(\.\d{1,3}){0,2}$/, '430 or 535.171.04'),
  }
}

/** Returns the version that `--libvirt` or `--qemu` gives, if any. Throws a UserError with code `usage`. */
export function versionFrom(given: Arguments, name: 'libvirt' | 'qemu'): string | undefined {
  const text = given.value(name)
  if (text === undefined) return undefined
  const version = /^\d+(\.\d+){1,3}$/.test(text) ? coerce(text)?.version : undefined
  if (version === undefined) throw requestUsageError(`--${name} ${text}: write a version such as 9.0.0`)
  return version
}

function kibOf(name: string, text: string, least: number): number {
  const kib = parseSize(name, text) / 1024
  if (kib < least) throw requestUsageError(`--${name} ${text}: less than ${least / 1024} MiB`)
  return kib
}

function pinFrom(given: Arguments): Omit<PinRequest, 'node'> | undefined {
  const number = (name: string): number | undefined => {
    const text = given.value(name)
    if (text === undefined) return undefined
    if (!/^[1-9]\d{0,3}$/.test(text)) throw requestUsageError(`--${name} ${text}: write a number from 1`)
    return Number(text)
  }
  const [vcpus, cores] = [number('vcpus'), number('cores')]
  const all = given.value('pin') === 'all-cores'
  const sizes = [vcpus !== undefined && '--vcpus', cores !== undefined && '--cores', all && '--pin all-cores']
  const requested = sizes.filter(Boolean)
  if (requested.length > 1) throw requestUsageError(`${requested.join(' and ')}: choose one`)
  const rest = { oneThread: given.flag('one-thread'), prefer: given.value('prefer') as PinRequest['prefer'] }
  if (vcpus !== undefined) return { size: { vcpus }, ...rest }
  if (cores !== undefined) return { size: { cores }, ...rest }
  if (all) return { size: 'all-cores', ...rest }
  if (rest.oneThread || rest.prefer !== undefined)
    throw requestUsageError(
      `--${rest.oneThread ? 'one-thread' : 'prefer'} goes with --vcpus, --cores or --pin all-cores`,
    )
  return undefined
}
