import type { Cpu, CpuCache, Cpus } from '../host/cpu.ts'

/** A core, with the facts that decide who gets it. Unknown is `undefined`. */
export interface Core {
  /** The online threads of the core, in numeric order: one at least. */
  cpus: number[]
  package: number | undefined
  node: number | undefined
  /** The lowest CPU of those that share its L3 cache and its NUMA node; without an L3, its package and node. */
  cluster: number
  /** The size of the L3 cache in bytes. */
  cache: number | undefined
  /** The highest clock in kHz. */
  frequency: number | undefined
  /** Is it slower than others of the machine by design (an E core)? */
  efficient: boolean
}

/** The topology of CPUs that a guest sees. */
export interface Topology {
  sockets: number
  dies: number
  cores: number
  threads: number
}

/** Returns the cores that have online CPUs, in the order of their lowest CPU. */
export function coresOf(machine: Cpus): Core[] {
  const online = machine.cpus.filter((cpu) => cpu.online)
  const threads = [...groupBy(online, coreKey).values()]
  const clusters = groupBy(threads, ([first]) => clusterKey(first))
  const slow = efficientCpus(machine, threads)
  return threads.map((cpus) => ({
    cpus: cpus.map(({ number }) => number),
    package: cpus[0]?.package,
    node: cpus[0]?.node,
    cluster: clusters.get(clusterKey(cpus[0]))?.[0]?.[0]?.number ?? 0,
    cache: cacheOf(cpus[0], 3)?.size,
    frequency: highest(cpus, 'maxFrequency'),
    efficient: cpus.some(({ number }) => slow.has(number)),
  }))
}

/**
 * Returns the topology for a guest without pinning: one socket (else libvirt makes each vCPU a socket, and Windows uses
 * two at most), and threads where every core of the host has as many and the vCPUs fill whole cores.
 */
export function unpinnedTopology(machine: Cpus, vcpus: number): { topology: Topology; topoext: boolean } {
  const counts = new Set(coresOf(machine).map(({ cpus }) => cpus.length))
  const [each = 1] = counts
  const even = counts.size === 1 && vcpus % each === 0
  const { threads, topoext } = guestThreads(machine, even ? each : 1)
  return { topology: { sockets: 1, dies: 1, cores: vcpus / threads, threads }, topoext }
}

/** Returns the threads that a guest accepts in a core: on AMD several only with the CPU feature `topoext`. */
export function guestThreads({ vendor, flags }: Cpus, count: number): { threads: number; topoext: boolean } {
  const believed = vendor !== 'amd' || flags === undefined || flags.includes('topoext')
  return { threads: believed ? count : 1, topoext: vendor === 'amd' && believed && count > 1 }
}

/** Groups values by what `key` returns for them, and keeps their order. */
export function groupBy<T, K>(values: readonly T[], key: (value: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const value of values) {
    const group = groups.get(key(value))
    if (group === undefined) groups.set(key(value), [value])
    else group.push(value)
  }
  return groups
}

/** Returns one key for all threads of a core. Where the tree says nothing, each CPU has its own: cores never merge. */
function coreKey({ number, siblings, package: socket, die, core }: Cpu): string {
  if (siblings?.includes(number)) return `siblings ${Math.min(...siblings)}`
  return core === undefined ? `alone ${number}` : `core ${socket} ${die} ${core}`
}

function clusterKey(cpu: Cpu | undefined): string {
  const { cpus, id } = cacheOf(cpu, 3) ?? {}
  return `${cpu?.node} ${cpu?.package} ${cpus?.[0] ?? id}`
}

function cacheOf(cpu: Cpu | undefined, level: number): CpuCache | undefined {
  return cpu?.caches?.find((cache) => cache.level === level && cache.type !== 'Instruction')
}

type Speed = 'capacity' | 'highestPerf' | 'maxFrequency'

function highest(cpus: readonly Cpu[], what: Speed): number | undefined {
  const known = cpus.map((cpu) => cpu[what]).filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

/**
 * Finds the CPUs of E cores. Favoured P cores differ in speed by a few percent, P and E by 17 or more (Arrow Lake).
 * A Xeon with SST-TF has two speeds too, but only one kind of core: an E core has one thread and shares its L2 cache
 * with others. AMD's speeds are ignored: its preferred cores are ranked far apart though they are of one kind.
 */
function efficientCpus({ vendor, performance, efficient }: Cpus, cores: readonly Cpu[][]): Set<number> {
  if (performance?.length && efficient?.length) return new Set(efficient)
  const speeds: Speed[] = ['capacity', 'highestPerf', 'maxFrequency']
  for (const what of vendor === 'amd' ? [] : speeds) {
    const speed = (core: readonly Cpu[]): number => highest(core, what) ?? 0
    const sorted = cores.map(speed).sort((one, other) => other - one)
    // The first gap: for Intel a speed more than 12 percent below the one before, for others below half of the highest.
    const isGap = (value: number, index: number): boolean =>
      vendor === 'intel' ? value * 1.12 < (sorted[index - 1] ?? 0) : value * 2 < (sorted[0] ?? 0)
    const limit = sorted.find(isGap)
    if (limit === undefined || sorted.includes(0)) continue
    const slow = cores.filter((core) => speed(core) <= limit)
    const likely =
      vendor !== 'intel' ||
      (slow.every((core) => core.length === 1) &&
        (cores.some((core) => core.length > 1) ||
          slow.some(sharesL2) ||
          cores.every(([cpu]) => cpu?.caches === undefined)))
    return new Set(likely ? slow.flat().map(({ number }) => number) : [])
  }
  return new Set(vendor === 'amd' ? [] : byShape(cores).flatMap((core) => core.map(({ number }) => number)))
}

/**
 * Finds the E cores where no speeds are known (no cpufreq, as in a guest): cores of one thread that share their L2
 * cache, beside P cores that do not. Core 2 shared its L2 too: there must be P cores with threads, or more than two
 * cores on one L2.
 */
function byShape(cores: readonly Cpu[][]): readonly Cpu[][] {
  const slow = cores.filter((core) => core.length === 1 && sharesL2(core))
  const rest = cores.filter((core) => !slow.includes(core))
  const several = slow.some(([cpu]) => (cacheOf(cpu, 2)?.cpus?.length ?? 0) > 2)
  const differ = rest.some((core) => core.length > 1) || several
  return rest.length > 0 && differ && rest.every((core) => !sharesL2(core)) ? slow : []
}

function sharesL2(core: readonly Cpu[]): boolean {
  const numbers = core.map(({ number }) => number)
  return cacheOf(core[0], 2)?.cpus?.some((cpu) => !numbers.includes(cpu)) ?? false
}
