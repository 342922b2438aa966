import type { NumaNode } from '../host/cpu.ts'
import { type Core, groupBy } from './cores.ts'

/** The rules that decide between places that hold as many CPUs. */
export interface PlacementRules {
  /** Returns how much a core contributes to the required number: 1, or its threads. */
  weight: (core: Core) => number
  /** The core of the host's first CPU: the host keeps it if that costs nothing. */
  bootCore: Core
  prefer: 'cache' | 'frequency' | undefined
  /** The rank of each cluster: 0 for the preferred ones, 1 for the next … */
  ranks: ReadonlyMap<number, number>
  distance: (home: number, node: number | undefined) => number
}

/**
 * Selects from `cores`, which are enough, some of the `required` weight: from the place nearest `home`, the card's NUMA
 * node; of places as near, the smallest (an L3 cluster, a node, a package) that is large enough; of these the preferred
 * one, then the one that shares no L3 with the host's first CPU, then the one with the lowest numbers. Where no L3
 * cluster is large enough, as few clusters as possible are used.
 */
export function placeCores(
  cores: readonly Core[],
  required: number,
  home: number | undefined,
  rules: PlacementRules,
): Core[] {
  const { bootCore, weight } = rules
  const place = smallestPlacement(cores, required, home, rules)
  const withoutBoot = place.cores.filter((core) => core !== bootCore)
  const free = totalWeight(withoutBoot, weight) >= required ? withoutBoot : place.cores
  if (place.isCluster) return placeInCluster(free, required, rules)
  const parts = sortByNumbers([...groupBy(free, ({ cluster }) => cluster).values()], (part) => [
    farthest(part, home, rules),
    bestRank(part, rules),
    -totalWeight(part, weight),
    lowest(part),
  ])
  const first = parts[0] ?? []
  const rest = free.filter((core) => !first.includes(core))
  return [...first, ...placeCores(rest, required - totalWeight(first, weight), home ?? first[0]?.node, rules)]
}

interface CpuPlacement {
  cores: Core[]
  isCluster: boolean
}

function smallestPlacement(
  cores: readonly Core[],
  required: number,
  home: number | undefined,
  rules: PlacementRules,
): CpuPlacement {
  const levels = [({ cluster }: Core) => cluster, ({ node }: Core) => node, (core: Core) => core.package, () => 0]
  const places = levels.flatMap((key, level) =>
    [...groupBy(cores, key).values()]
      .filter((group) => totalWeight(group, rules.weight) >= required)
      .map((group) => ({ cores: group, level, isCluster: level === 0 })),
  )
  const [best] = sortByNumbers(places, ({ cores: group, level }) => [
    farthest(group, home, rules),
    level,
    nearest(group, home, rules),
    bestRank(group, rules),
    Number(group.some(({ cluster }) => cluster === rules.bootCore.cluster)),
    lowest(group),
  ])
  return best ?? { cores: [...cores], isCluster: true }
}

/** Selects cores within one cluster: those with the most threads first. */
function placeInCluster(cores: readonly Core[], required: number, { weight, prefer }: PlacementRules): Core[] {
  const sorted = sortByNumbers(cores, (core) => [
    -core.cpus.length,
    prefer === 'frequency' ? -(core.frequency ?? 0) : 0,
    lowest([core]),
  ])
  const bound: Core[] = []
  for (const core of sorted) if (totalWeight(bound, weight) < required) bound.push(core)
  return bound
}

/** Returns the distance of the farthest of these cores from home; without a home, the number of their nodes. */
function farthest(cores: readonly Core[], home: number | undefined, { distance }: PlacementRules): number {
  if (home === undefined) return new Set(cores.map(({ node }) => node)).size
  return Math.max(...cores.map(({ node }) => distance(home, node)))
}

/** Returns the distance of the nearest core: firmware may call a package as far as the card's, which comes first. */
function nearest(cores: readonly Core[], home: number | undefined, { distance }: PlacementRules): number {
  return home === undefined ? 0 : Math.min(...cores.map(({ node }) => distance(home, node)))
}

function bestRank(cores: readonly Core[], { ranks }: PlacementRules): number {
  return Math.min(...cores.map(({ cluster }) => ranks.get(cluster) ?? 0))
}

/** Sorts by the first number that differs. */
function sortByNumbers<T>(values: readonly T[], numbers: (value: T) => number[]): T[] {
  const keyed = values.map((value) => ({ value, key: numbers(value) }))
  keyed.sort((one, other) => {
    const index = one.key.findIndex((number, at) => number !== other.key[at])
    return (one.key[index] ?? 0) - (other.key[index] ?? 0)
  })
  return keyed.map(({ value }) => value)
}

/** Returns the sum of the weights of these cores. */
export function totalWeight(cores: readonly Core[], weight: (core: Core) => number): number {
  return cores.reduce((total, core) => total + weight(core), 0)
}

function lowest(cores: readonly Core[]): number {
  return Math.min(...cores.map(({ cpus }) => cpus[0] ?? 0))
}

/** Returns a function for the distance between nodes, as the firmware tells it: 10 is the node itself (ACPI SLIT). */
export function distanceFrom(nodes: readonly NumaNode[] | undefined): PlacementRules['distance'] {
  return (home, node) => {
    const reported = nodes?.find(({ number }) => number === home)?.distances?.get(node ?? home)
    return reported ?? (node === undefined || node === home ? 10 : 20)
  }
}

/**
 * Returns the rank of each cluster: all 0 without a preference, or where clusters do not differ. Of two clusters with
 * equal reported clocks, the one with the smaller cache counts as faster: a stacked cache lowers the clock, and drivers
 * need not report that (X3D).
 */
export function clusterRanks(cores: readonly Core[], prefer: PlacementRules['prefer']): Map<number, number> {
  const fast = groupBy(
    cores.filter((core) => !core.efficient),
    ({ cluster }) => cluster,
  )
  const clusters = [...fast].map(([cluster, own]) => {
    const frequency = Math.max(...own.map((core) => core.frequency ?? 0))
    const cache = own[0]?.cache ?? 0
    return { cluster, key: prefer === 'cache' ? [-cache] : prefer === 'frequency' ? [-frequency, cache] : [] }
  })
  const order = sortByNumbers(clusters, ({ key }) => key)
  const keys = [...new Set(order.map(({ key }) => key.join()))]
  return new Map(order.map(({ cluster, key }) => [cluster, keys.indexOf(key.join())]))
}
