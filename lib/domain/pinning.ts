import type { Cpus } from '../host/cpu.ts'

export interface PinRequest {
  /** How much: vCPUs, whole cores, or every core but what the host keeps (hybrid: every performance core). */
  size: { vcpus: number } | { cores: number } | 'all-cores'
  /** Use one thread of each core; its siblings are left idle [all threads]. */
  oneThread?: boolean
  /** Where L3 clusters differ: the one with the larger cache, or the one with the higher clock [no matter]. */
  prefer?: 'cache' | 'frequency' | undefined
  /** The NUMA node of the card; `undefined` or negative: unknown, or there is but one. */
  node?: number | undefined
}

/** What a guest is pinned to. All lists of CPUs are in numeric order; `cpuList` of lib/host/cpu.ts writes them as text. */
export interface Pinning {
  /** In the order of the vCPUs: sibling threads side by side, the cores of one L3 cluster side by side. */
  vcpus: { vcpu: number; cpu: number }[]
  emulator: number[]
  iothread: number[]
  /** NUMA nodes of the guest's CPUs; empty when the machine does not say. */
  nodes: number[]
  /** As the guest should see it: their product is the number of vCPUs. */
  topology: { sockets: number; dies: number; cores: number; threads: number }
  /** The host's: whole cores that hold none of the guest's CPUs. */
  host: number[]
  /** Siblings of the guest's CPUs that hold no vCPU: neither guest nor host should use them. */
  idle: number[]
  /** Does the guest need the CPU feature `topoext` to believe its threads (AMD)? */
  topoext: boolean
  /** `passthrough`: the host's caches are shared in the guest as they are on the host; `emulate`: they would not be. */
  caches: 'passthrough' | 'emulate'
  /** Why, one sentence each, in the order of the decisions. */
  reasons: string[]
}

/** `pinVcpus(cpus, request)`: throws a UserError `too-many-vcpus`, `no-cpus` or `usage`. */
export type PinVcpus = (cpus: Cpus, request: PinRequest) => Pinning
