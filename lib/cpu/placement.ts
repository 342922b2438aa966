import type { NumaNode } from '../host/cpu.ts'
import { type Core, groupBy } from './cores.ts'

/** What decides between places that hold as many CPUs. */
export interface PlacementRules {
  /** What a core adds to what is needed. */
  weight: (core: Core) => number
  /** The core that the host keeps if it costs nothing. */
  bootCore: Core
  prefer: 'cache' | 'frequency' | undefined
  /** Cluster → 0 for the preferred ones, 1 for the next … */
  ranks: ReadonlyMap<number, number>
  distance: (home: number, node: number | undefined) => number
}

/**
 * Cores that hold `need`, of those given (which do hold it): from the place nearest `home`, the card's NUMA node; of
 * places as near, the smallest (an L3 cluster, a node, a package) that holds them all; of these the preferred one, then
 * the one that shares no L3 with the host's first CPU, then the one with the lowest numbers. No place so small: the
 * fewest clusters.
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

/** Of one cluster: cores with all their threads first. */
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

/** How far the farthest of these cores is from home; without a home, how many nodes they are of. */
function farthest(cores: readonly Core[], home: number | undefined, { distance }: PlacementRules): number {
  if (home === undefined) return new Set(cores.map(({ node }) => node)).size
  return Math.max(...cores.map(({ node }) => distance(home, node)))
}

/** A package that has the card's node is nearer than one whose farthest node is as far: firmware need not tell more. */
function nearest(cores: readonly Core[], home: number | undefined, { distance }: PlacementRules): number {
  return home === undefined ? 0 : Math.min(...cores.map(({ node }) => distance(home, node)))
}

function bestRank(cores: readonly Core[], { ranks }: PlacementRules): number {
  return Math.min(...cores.map(({ cluster }) => ranks.get(cluster) ?? 0))
}

/** By the first number that differs. */
function sortByNumbers<T>(values: readonly T[], numbers: (value: T) => number[]): T[] {
  const keyed = values.map((value) => ({ value, key: numbers(value) }))
  keyed.sort((one, other) => {
    const index = one.key.findIndex((number, at) => number !== other.key[at])
    return (one.key[index] ?? 0) - (other.key[index] ?? 0)
  })
  return keyed.map(({ value }) => value)
}

/** How much these cores hold together. */
export function totalWeight(cores: readonly Core[], weight: (core: Core) => number): number {
  return cores.reduce((total, core) => total + weight(core), 0)
}

function lowest(cores: readonly Core[]): number {
  return Math.min(...cores.map(({ cpus }) => cpus[0] ?? 0))
}

/** A node's distance from another, as the firmware tells it: 10 is the node itself (ACPI SLIT). */
export function distanceFrom(nodes: readonly NumaNode[] | undefined): PlacementRules['distance'] {
  return (home, node) => {
    const reported = nodes?.find(({ number }) => number === home)?.distances?.get(node ?? home)
    return reported ?? (node === undefined || node === home ? 10 : 20)
  }
}

/**
 * Cluster → rank, all 0 when there is no preference or nothing to tell them apart by. Of two clusters that are said to
 * be as fast, the one with the smaller cache is: a stacked cache lowers the clock, and drivers need not say so (X3D).
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
