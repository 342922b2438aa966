import { UserError } from '../core/error.ts'
import { type Cpus, cpuList } from '../host/cpu.ts'
import { type Core, coresOf, groupBy, guestThreads, type Topology } from './cores.ts'
import { clusterRanks, distanceFrom, type PlacementRules, placeCores, totalWeight } from './placement.ts'

export interface PinRequest {
  /**
   * The number of vCPUs or whole cores; all cores but what the host keeps (hybrid: every performance core); or every
   * thread of every core, with nothing left to the host.
   */
  size: { vcpus: number } | { cores: number } | 'all-cores' | 'all-threads'
  /** Is one thread of each core used, and its siblings left idle? [all threads are used] */
  oneThread?: boolean
  /** The L3 cluster to prefer where they differ: with the larger cache, or with the higher clock [no preference]. */
  prefer?: 'cache' | 'frequency' | undefined
  /** The NUMA node of the card; `undefined` or negative: it is unknown, or there is only one. */
  node?: number | undefined
}

/** The CPUs that a guest is pinned to. Lists of CPUs are in numeric order; `cpuList` of lib/host/cpu.ts writes them. */
export interface Pinning {
  /** The CPU of each vCPU: sibling threads are side by side, and so are the cores of one L3 cluster. */
  vcpus: { vcpu: number; cpu: number }[]
  emulator: number[]
  iothread: number[]
  /** The NUMA nodes of the guest's CPUs; empty when the machine does not say. */
  nodes: number[]
  /** The topology that the guest should see: the product of its numbers is the number of vCPUs. */
  topology: Topology
  /** The CPUs of the host: whole cores that hold none of the guest's CPUs; empty where the guest has every thread. */
  host: number[]
  /** The siblings of the guest's CPUs that hold no vCPU: neither guest nor host should use them. */
  idle: number[]
  /** Does the guest need the CPU feature `topoext` to believe its threads (AMD)? */
  topoext: boolean
  /** `passthrough`: the guest's CPUs share the host's caches as the processor says; `emulate`: they do not. */
  caches: 'passthrough' | 'emulate'
  /** The reasons, one sentence each, in the order of the decisions. */
  reasons: string[]
}

/**
 * Decides which CPUs a guest gets: whole cores near the card, in as few L3 clusters as possible; the host keeps one at
 * least, unless every thread was asked for.
 * Throws a UserError: `too-many-vcpus`, `no-cpus` (the machine does not say what it has) or `usage`.
 */
export function pinVcpus(machine: Cpus, request: PinRequest): Pinning {
  const cores = coresOf(machine)
  const fast = cores.filter((core) => !core.efficient)
  const slow = cores.filter((core) => core.efficient)
  // Interrupts and much else of the host run on its first CPU by default.
  const hostCore = slow[0] ?? fast[0]
  const bootCore = cores[0]
  if (hostCore === undefined || bootCore === undefined)
    throw new UserError('no-cpus', '/sys/devices/system/cpu: no online CPU is to be seen: pinning needs the topology')

  const { size, oneThread = false } = request
  const whole = oneThread || (typeof size === 'object' && 'cores' in size)
  const weight = (core: Core): number => (whole ? 1 : core.cpus.length)
  const sum = (list: readonly Core[]): number => totalWeight(list, weight)
  const most = sum(cores) - (size === 'all-threads' ? 0 : weight(hostCore))
  const need = requestedCount(size) ?? (size === 'all-cores' && slow.length > 0 ? sum(fast) : most)
  if (need > most || need === 0) throw tooManyError(cores, need, most, whole && !oneThread ? 'cores' : 'vCPUs')

  const node = request.node !== undefined && request.node >= 0 ? request.node : undefined
  const rules: PlacementRules = {
    weight,
    bootCore,
    prefer: request.prefer,
    ranks: clusterRanks(cores, request.prefer),
    distance: distanceFrom(machine.nodes),
  }
  const selected =
    need <= sum(fast)
      ? placeCores(fast, need, node, rules)
      : [...fast, ...placeCores(slow, need - sum(fast), node, rules)]
  selected.sort((one, other) => Number(one.efficient) - Number(other.efficient) || inOrder(one, other))

  const threads = selected.flatMap(({ cpus }) => (oneThread ? cpus.slice(0, 1) : cpus))
  const used = typeof size === 'object' && 'vcpus' in size ? threads.slice(0, size.vcpus) : threads
  const given = selected.flatMap(({ cpus }) => cpus)
  const host = cores.filter((core) => !selected.includes(core))
  const nodes = [...new Set(selected.map((core) => core.node))].filter((each) => each !== undefined)
  const near = host.filter((core) => core.node !== undefined && nodes.includes(core.node))
  const apart = near.length > 0 ? near : host
  const emulator = numeric((apart.length > 0 ? apart : selected).flatMap(({ cpus }) => cpus))
  const pinned = {
    vcpus: used.map((cpu, vcpu) => ({ vcpu, cpu })),
    emulator,
    iothread: [...emulator],
    nodes: numeric(nodes),
    host: numeric(host.flatMap(({ cpus }) => cpus)),
    idle: numeric(given.filter((cpu) => !used.includes(cpu))),
    ...guestTopology(machine, cores, selected, used),
  }
  return { ...pinned, reasons: pinningReasons(machine, request, cores, selected, pinned) }
}

/** Returns what a person should know where the guest has every CPU. */
export function sharedCpuNotes(pinning: Pinning | null): string[] {
  return pinning?.host.length === 0
    ? [
        'the guest has every CPU, and the host none of its own: while the guest is busy, the host, its disks and its network wait for it; --pin all-cores keeps a core for the host',
      ]
    : []
}

type PinningWithoutReasons = Omit<Pinning, 'reasons'>

/** Returns the number that was requested; `undefined` for all cores, and for all threads. */
function requestedCount(size: PinRequest['size']): number | undefined {
  if (typeof size === 'string') return undefined
  const count = 'vcpus' in size ? size.vcpus : size.cores
  if (!Number.isSafeInteger(count) || count < 1)
    throw new UserError('usage', `${count} is no number of CPUs: give a whole number from 1`)
  return count
}

function tooManyError(cores: readonly Core[], required: number, most: number, what: string): UserError {
  const here = `${countText(
    cores.flatMap(({ cpus }) => cpus),
    'online CPU',
  )} in ${countText(cores, 'core')} and keeps one core`
  return new UserError(
    'too-many-vcpus',
    most === 0
      ? `this host has ${here}: none is left to pin a guest to; do without pinning`
      : `${required} ${what} are more than this host can give, which has ${here}: ask for ${most} at most`,
  )
}

/** Returns the topology for the guest, with threads and shared caches only where they really exist. */
function guestTopology(
  machine: Cpus,
  all: readonly Core[],
  guestCores: readonly Core[],
  used: readonly number[],
): Pick<Pinning, 'topology' | 'topoext' | 'caches'> {
  const perCore = guestCores[0]?.cpus.length ?? 1
  const even = guestCores.every(({ cpus }) => cpus.length === perCore && cpus.every((cpu) => used.includes(cpu)))
  const { threads, topoext } = guestThreads(machine, even ? perCore : 1)
  const parts = [...groupBy(guestCores, ({ cluster }) => cluster)].map(([cluster, { length }]) => ({
    length,
    complete: all.filter((core) => core.cluster === cluster).length === length,
  }))
  const equal = even && parts.every(({ length }) => length === parts[0]?.length)
  const dies = equal ? parts.length : 1
  const same = threads === perCore && even && !mixed(guestCores)
  return {
    topology: { sockets: 1, dies, cores: used.length / threads / dies, threads },
    topoext,
    // The processor tells how many CPUs share its caches, even if the guest has only some of these CPUs.
    caches:
      same && (parts.length === 1 || (equal && parts.every(({ complete }) => complete))) ? 'passthrough' : 'emulate',
  }
}

function mixed(cores: readonly Core[]): boolean {
  return cores.some((core) => core.efficient !== cores[0]?.efficient)
}

function pinningReasons(
  machine: Cpus,
  { prefer, node, oneThread }: PinRequest,
  cores: readonly Core[],
  guestCores: readonly Core[],
  { vcpus, host, idle, emulator, nodes, topology, topoext, caches }: PinningWithoutReasons,
): string[] {
  const slow = cores.filter((core) => core.efficient)
  const offline = machine.cpus.filter((cpu) => !cpu.online).map(({ number }) => number)
  const blind = machine.cpus.every(({ siblings, core }) => siblings === undefined && core === undefined)
  const differ = new Set(cores.filter((core) => !core.efficient).map(({ cache }) => cache)).size > 1
  const threads = Math.max(...guestCores.map(({ cpus }) => cpus.length))
  const onNodes = nodes.length > 0 ? ` on NUMA node${nodes.length === 1 ? '' : 's'} ${cpuList(nodes)}` : ''
  const card = node === undefined || node < 0 || nodes.length === 0 ? '' : cardText(node, nodes)
  const beyond = oneThread ? 'that were not asked for' : 'beyond the number of vCPUs'
  return [
    ...(blind ? ['The machine does not say which CPUs are threads of one core: each is taken for a core.'] : []),
    ...(offline.length > 0 ? [`Offline, and given to nobody: ${cpusText(offline)}.`] : []),
    `The guest has ${cpusText(vcpus.map(({ cpu }) => cpu))}: ${countText(guestCores, 'core')} of its own${onNodes}${card}.`,
    ...(slow.length > 0 ? [kindText(slow, guestCores)] : []),
    clusterText(cores, guestCores),
    ...(differ && prefer === undefined
      ? ['L3 clusters of this machine differ in size; a preference for cache or frequency chooses between them.']
      : []),
    ...(prefer === undefined ? [] : [preferText(cores, prefer)]),
    host.length === 0
      ? `The host keeps no CPU, as asked: it and QEMU's own threads share ${cpusText(emulator)} with the guest.`
      : `The host keeps ${cpusText(host)}; QEMU's own threads are on ${cpusText(emulator)}.`,
    ...(idle.length > 0 ? [`Idle: ${cpusText(idle)}, threads of the guest's cores ${beyond}.`] : []),
    topology.threads > 1
      ? `The guest sees ${topology.threads} threads in each core${topoext ? ', which takes topoext on AMD' : ''}.`
      : `The guest sees each vCPU as a core${threads > 1 ? ', for not all of its cores have all threads in it' : ''}.`,
    caches === 'passthrough'
      ? "It sees the host's caches, which its vCPUs share as the host's CPUs do."
      : "It sees caches that QEMU makes up, since its vCPUs do not share the host's as the processor would tell it.",
  ]
}

function clusterText(cores: readonly Core[], guestCores: readonly Core[]): string {
  if (guestCores.some(({ cache }) => cache === undefined))
    return 'The machine does not say which of them share an L3 cache: those of one package are taken to.'
  const places = [...groupBy(guestCores, ({ cluster }) => cluster)].map(([cluster, [first]]) => {
    const own = cores.filter((core) => core.cluster === cluster).flatMap(({ cpus }) => cpus)
    return `${cpusText(own)} (${Math.round(((first?.cache ?? 0) / 2 ** 20) * 10) / 10} MiB)`
  })
  if (places.length === 1) return `They are of one L3 cluster, ${places[0]}.`
  return `They are of ${places.length} L3 clusters, the fewest that hold them: ${places.slice(0, 4).join('; ')}${places.length > 4 ? ' …' : '.'}`
}

function cpusText(cpus: readonly number[]): string {
  return `CPU${cpus.length === 1 ? '' : 's'} ${cpuList(cpus)}`
}

function cardText(node: number, nodes: readonly number[]): string {
  if (nodes.includes(node)) return nodes.length === 1 ? ", which is the card's" : `, the card's (${node}) among them`
  return `; the card is on node ${node}, where they do not fit`
}

function kindText(slow: readonly Core[], guestCores: readonly Core[]): string {
  const bound = guestCores.filter((core) => core.efficient).length
  const all = `Efficient cores are ${cpusText(slow.flatMap(({ cpus }) => cpus))}`
  return bound === 0 ? `${all}: left to the host.` : `${all}: ${bound} of them are needed, and slower than the others.`
}

function preferText(cores: readonly Core[], prefer: 'cache' | 'frequency'): string {
  const what = prefer === 'cache' ? 'larger cache' : 'higher clock'
  const reported = new Set(clusterRanks(cores, prefer).values()).size > 1
  return reported
    ? `The L3 cluster with the ${what} comes first.`
    : `No L3 cluster has a ${what} than the others, as far as the machine says.`
}

function inOrder(one: Core, other: Core): number {
  return one.cluster - other.cluster || (one.cpus[0] ?? 0) - (other.cpus[0] ?? 0)
}

function numeric(numbers: readonly number[]): number[] {
  return [...numbers].sort((one, other) => one - other)
}

function countText(list: readonly unknown[], what: string): string {
  return `${list.length} ${what}${list.length === 1 ? '' : 's'}`
}
