import type { Reader } from './reader.ts'

/** One cache, as one CPU has it. */
export interface CpuCache {
  level: number
  /** `Data`, `Instruction` or `Unified`. */
  type: string | undefined
  /** In bytes. */
  size: number | undefined
  /** The online CPUs that share it. */
  cpus: number[] | undefined
  id: number | undefined
}

/** One logical CPU. Unknown is `undefined`, and so is what the kernel does not say of an offline one. */
export interface Cpu {
  number: number
  online: boolean
  core: number | undefined
  package: number | undefined
  die: number | undefined
  cluster: number | undefined
  /** The online CPUs of its core, itself among them. */
  siblings: number[] | undefined
  /** By level. */
  caches: CpuCache[] | undefined
  node: number | undefined
  /** Of 1024: compared with the fastest CPU of the machine. */
  capacity: number | undefined
  /** ACPI CPPC, on a scale of the machine's own. */
  highestPerf: number | undefined
  /** In kHz. */
  maxFrequency: number | undefined
  /** In kHz. */
  baseFrequency: number | undefined
}

export interface NumaNode {
  number: number
  /** None in a node of memory alone. */
  cpus: number[]
  /** In bytes; 0 in a node without memory. */
  memory: number | undefined
  free: number | undefined
  /** Node → distance: 10 is the node itself (ACPI SLIT). */
  distances: Map<number, number> | undefined
}

/** The machine's CPUs. */
export interface Cpus {
  /** Those present, offline ones too, in numeric order; empty when the tree does not say. */
  cpus: Cpu[]
  /** In numeric order; `undefined`: a kernel without NUMA, or the tree does not say. */
  nodes: NumaNode[] | undefined
  /** `GenuineIntel`, `AuthenticAMD` … */
  vendor: string | undefined
  model: string | undefined
  flags: string[] | undefined
  /** Hybrid Intel, where the kernel names them. */
  performance: number[] | undefined
  efficient: number[] | undefined
}
