import type { Remarks } from '../core/versions.ts'
import type { GuestFirmware } from './guest.ts'

/** The facts that decide where a guest's firmware puts large windows (BARs). */
export interface WindowFacts {
  /** Slot of a card → sizes of its 64-bit BARs in bytes. */
  bars: ReadonlyMap<string, readonly number[]>
  /** The host CPU's physical address bits; `null`: not known. */
  addressBits: number | null
  vendor: 'intel' | 'amd' | undefined
  /** Has the CPU pages of 1 GiB (`pdpe1gb`)? */
  gigabytePages: boolean
  /** The narrowest IOMMU's address bits; `null`: not known, or as wide as the CPU. */
  iommuBits: number | null
}

export interface PciWindow {
  /** OVMF's 64-bit window, in MiB; `null`: its own will do, or nothing is known. */
  mmio64Mib: number | null
  /** The guest's address bits, where the IOMMU has fewer than the CPU; `null`: the CPU's. */
  addressBits: number | null
}

const MIB = 2 ** 20
const GIB = 2 ** 30
/** OVMF's window in bytes, before edk2-stable202211 and where it does not believe the address width. */
const CLASSIC = 32 * GIB
/** The edk2 release from which on the window is an eighth of the guest's address space. */
const DYNAMIC = 202211

/**
 * Returns the size in bytes of the window that OVMF gives 64-bit BARs; `null`: not known. Source: edk2,
 * OvmfPkg/Library/PlatformInitLib/MemDetect.c.
 */
export function ovmfWindow(
  edk2: number,
  bits: number | null,
  { vendor, gigabytePages }: Pick<WindowFacts, 'vendor' | 'gigabytePages'>,
): number | null {
  if (edk2 < DYNAMIC) return CLASSIC
  if (bits === null) return null
  const believed = bits >= 41 || (vendor === 'amd' ? bits === 40 : bits === 36 || bits === 39)
  return believed ? 2 ** Math.min(bits, gigabytePages ? 46 : 40) / 8 : CLASSIC
}

/**
 * Decides whether the cards' BARs fit, and whether the IOMMU reaches them. `memoryKib` is the guest's; `taints`:
 * libvirt has no element for fewer address bits, so that they go to QEMU itself.
 */
export function decideWindow(
  facts: WindowFacts,
  guest: {
    firmware: GuestFirmware
    edk2: number | null
    hostCpu: boolean
    memoryKib: number | null
    taints: boolean
    libvirt: boolean
  },
  { reasons, notes }: Remarks,
): PciWindow {
  const none: PciWindow = { mmio64Mib: null, addressBits: null }
  if (facts.bars.size === 0) return none
  const { addressBits: cpu, iommuBits: iommu } = facts
  const limit = guest.hostCpu && iommu !== null && (cpu === null || iommu < cpu) ? iommu : null
  if (limit !== null)
    reasons.push(
      `the guest has ${limit} address bits: the IOMMU reaches no further${cpu === null ? '' : `, and the CPU has ${cpu}`}; the cards' memory must lie below`,
    )
  if (limit !== null && guest.taints)
    notes.push(
      `the IOMMU reaches ${limit} address bits, fewer than the CPU: host-phys-bits-limit goes to QEMU itself, since libvirt has an element for it from 9.3 on, and libvirt marks the guest as tainted (custom-argv) for it`,
    )
  const sizes = [...facts.bars.values()]
  const sum = sizes.flat().reduce((total, size) => total + size, 0)
  if (guest.firmware.kind === 'bios' || sum === 0) return { ...none, addressBits: limit }
  // QEMU's own width of a CPU model is 40 bits.
  const bits = guest.hostCpu ? (limit ?? cpu) : 40
  const room = guest.edk2 === null ? null : ovmfWindow(guest.edk2, bits, facts)
  const need = sizes.reduce((total, card) => total + aligned(card), 0)
  const size = `the cards' 64-bit BARs are ${(sum / GIB).toFixed(1)} GiB`
  if (room === null && need >= CLASSIC)
    notes.push(
      `${size}, and ${guest.edk2 === null ? 'what release of OVMF the guest will have' : "the CPU's address width"} is not known: edk2-stable202211 and later make room by themselves, older ones have 32 GiB; nothing was written for it`,
    )
  if (room === null || need < room) {
    if (room !== null && need >= 4 * GIB) reasons.push(`${size}: they fit into OVMF's window of ${room / GIB} GiB`)
    return { ...none, addressBits: limit }
  }
  const mmio64Mib = 2 ** Math.ceil(Math.log2((sum / MIB) * 2))
  reasons.push(`a 64-bit PCI window of ${mmio64Mib / 1024} GiB: ${size}, and OVMF's own window is ${room / GIB} GiB`)
  notes.push(
    `OVMF's window of ${room / GIB} GiB does not hold the cards: X-PciMmio64Mb goes to QEMU itself${guest.libvirt ? ', and libvirt marks the guest as tainted (custom-argv) for it' : ''}`,
  )
  const space = bits === null ? null : 2 ** bits
  if (space !== null && mmio64Mib * MIB * 2 > space - (guest.memoryKib ?? 0) * 1024)
    notes.push(
      `${size}: more than ${bits} address bits have room for beside the memory; the guest may not see all of them`,
    )
  return { mmio64Mib, addressBits: limit }
}

/** Returns the bytes that a card takes behind a bridge: up to a multiple of its largest BAR. */
function aligned(sizes: readonly number[]): number {
  const sum = sizes.reduce((total, size) => total + size, 0)
  const largest = Math.max(MIB, ...sizes)
  return Math.ceil(sum / largest) * largest
}

/**
 * Returns QEMU's arguments for OVMF's window of `mib` MiB; libvirt keeps these names of `<sysinfo type='fwcfg'>` to
 * itself, and has no element for it.
 */
export function windowArguments(mib: number): [string, string] {
  return ['-fw_cfg', `name=opt/ovmf/X-PciMmio64Mb,string=${mib}`]
}
