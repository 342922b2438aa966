import coerce from 'semver/functions/coerce.js'
import lt from 'semver/functions/lt.js'
import { UserError } from '../core/error.ts'
import { type Remarks, supports, supportsElseNote, type Versions } from '../core/versions.ts'
import type { Topology } from '../cpu/cores.ts'
import { type Pinning, sharedCpuNotes } from '../cpu/pinning.ts'
import type { Hypervisor } from '../host/hypervisor.ts'
import type { Arguments } from '../terminal/options.ts'
import type { BoardFacts } from './devices/guest-device.ts'
import { type DeviceFacts, decideDevices, GUEST_DEVICES, type Guest } from './devices/guest-devices.ts'
import { decideFirmware } from './firmware.ts'
import { decideHyperv, type HypervFacts } from './hyperv.ts'
import type { BoardRequest } from './request.ts'
import { decideWindow, type WindowFacts } from './window.ts'

/** The facts that a guest is decided from. */
export type GuestFacts = Omit<BoardFacts, 'firmware'> &
  DeviceFacts &
  HypervFacts & {
    /** The pinning of the vCPUs; `null`: not pinned. */
    pinning: Pinning | null
    /** The topology of a guest that is not pinned. */
    unpinned: { topology: Topology; topoext: boolean }
    window: WindowFacts
  }

export interface GuestDecision {
  guest: Guest
  /** The reasons, one sentence each, for `--explain`. */
  reasons: string[]
  /** Notes on what was left out, and on what the person should know. */
  notes: string[]
}

const GIB = 1024 * 1024
/** The first NVIDIA driver that starts in a guest by itself. */
const NVIDIA_LIFTED = '465.0.0'

/** Decides all of a guest. Throws a UserError: `too-much-memory`, `no-hugepages`, `no-firmware`, `usage` … */
export function decideGuest(given: Arguments, request: BoardRequest, facts: GuestFacts): GuestDecision {
  const remarks = { reasons: [] as string[], notes: [] as string[] }
  const windows = request.preset !== 'linux'
  const memory = decideMemory(request, facts.hypervisor, remarks)
  const { firmware, edk2 } = decideFirmware(request, facts, remarks)
  const hiding = decideHiding(request, facts.versions, remarks)
  const devices = decideDevices(given, { ...facts, firmware }, () => remarks)
  const pinning = facts.pinning
  remarks.reasons.push(...(pinning?.reasons ?? []))
  remarks.notes.push(...sharedCpuNotes(pinning))
  const cpuModel = request.cpuModel ?? 'host-passthrough'
  const hostCpu = cpuModel === 'host-passthrough'
  const { topology, topoext } = pinning ?? facts.unpinned
  const { sockets, dies, cores, threads } = topology
  const taints = request.format === 'libvirt' && !supports(facts.versions, 'addressBits')
  const window = decideWindow(
    facts.window,
    { firmware, edk2, hostCpu, memoryKib: memory.kib, taints, libvirt: request.format === 'libvirt' },
    remarks,
  )
  const guest: Guest = {
    name: request.name,
    preset: request.preset,
    chipset: request.chipset,
    firmware,
    memory: { ...memory, shared: GUEST_DEVICES.some((device) => device.sharesMemory?.(devices)) },
    vcpus: sockets * dies * cores * threads,
    topology,
    topoext,
    addressBits: window.addressBits,
    cpuModel,
    pinning,
    ...hiding,
    hyperv: windows && hiding.hypervAllowed ? decideHyperv(request.preset, facts, remarks) : null,
    localtime: windows,
    hypervclock: !windows ? null : hiding.hypervAllowed && supports(facts.versions, 'hypervclock'),
    ...devices,
    mmio64Mib: window.mmio64Mib,
  }
  return { guest, ...remarks }
}

/** Decides memory and pages, as asked and as the host has them. Throws `too-much-memory`, `no-hugepages` or `usage`. */
export function decideMemory(
  request: Pick<BoardRequest, 'memoryKib' | 'hugepageKib'>,
  { memoryKib, hugepages }: Hypervisor,
  remarks: Remarks,
) {
  const half = memoryKib === null ? 8 : Math.floor(memoryKib / 2 / GIB)
  const kib = request.memoryKib ?? Math.max(1, Math.min(16, half)) * GIB
  if (request.memoryKib === undefined)
    remarks.reasons.push(
      memoryKib === null
        ? `${kib / GIB} GiB of memory: how much the host has is not known; --memory sets it`
        : `${kib / GIB} GiB of memory: half of the host's, 16 GiB at most; --memory sets it`,
    )
  if (memoryKib !== null && kib >= memoryKib) {
    const has = `${(memoryKib / GIB).toFixed(1)} GiB`
    throw new UserError('too-much-memory', `--memory: the guest would have ${kib / GIB} GiB, and the host has ${has}`)
  }
  const { hugepageKib } = request
  if (hugepageKib === undefined) return { kib, hugepageKib: null }
  if (kib % hugepageKib !== 0)
    throw new UserError('usage', `--memory: not a whole number of hugepages of ${hugepageKib} KiB`)
  const count = kib / hugepageKib
  const pool = hugepages.find((each) => each.kib === hugepageKib)
  if (hugepages.length > 0 && pool === undefined) {
    const sizes = hugepages.map((each) => `${each.kib} KiB`).join(', ')
    throw new UserError('no-hugepages', `--hugepages: this host has none of ${hugepageKib} KiB, but of ${sizes}`)
  }
  const free = pool?.free ?? 0
  if (free < count)
    remarks.notes.push(
      `the guest needs ${count} free hugepages of ${hugepageKib} KiB, and there are ${free} of ${pool?.total ?? 0}: ` +
        `reserve them at boot (default_hugepagesz=${hugepageSize(hugepageKib)} hugepagesz=${hugepageSize(hugepageKib)} hugepages=${count})`,
    )
  remarks.reasons.push(`${count} hugepages of ${hugepageKib} KiB hold the guest's memory`)
  return { kib, hugepageKib }
}

function hugepageSize(kib: number): string {
  return kib % GIB === 0 ? `${kib / GIB}G` : `${kib / 1024}M`
}

/** Decides what is hidden: old NVIDIA drivers refuse to start where they see a hypervisor (error 43). */
export function decideHiding(
  request: Pick<BoardRequest, 'nvidiaDriver' | 'hideKvm' | 'vendorId'>,
  versions: Versions,
  remarks: Remarks,
) {
  const driver = coerce(request.nvidiaDriver)
  const old = driver !== null && lt(driver, NVIDIA_LIFTED)
  if (driver !== null && !old)
    remarks.notes.push(`NVIDIA's driver ${request.nvidiaDriver} starts in guests by itself: nothing is hidden from it`)
  const required = old || request.hideKvm || request.vendorId !== undefined
  if (old)
    remarks.reasons.push(
      `KVM is hidden and Hyper-V renamed: NVIDIA's driver ${request.nvidiaDriver} refuses guests (error 43) until 465`,
    )
  else if (required) remarks.reasons.push("hiding KVM, as asked; NVIDIA's drivers from 465 on do not need it")
  const hideKvm = old || request.hideKvm
  const rename = hideKvm || request.vendorId !== undefined
  const named =
    rename && supportsElseNote(versions, 'vendorId', "Hyper-V's other name, and with it Hyper-V's flags,", remarks)
  return {
    hideKvm,
    vendorId: named ? (request.vendorId ?? 'vfioscripts') : null,
    ioapicKvm: hideKvm && supportsElseNote(versions, 'ioapic', "ioapic driver='kvm'", remarks),
    /** May the guest have Hyper-V's flags? Without another name, they would show what is to be hidden. */
    hypervAllowed: !rename || named,
  }
}
