import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { deviceAbove, readLines, type Unreadable } from './readings.ts'
import { flipWords, shortAddress } from './sockets.ts'

/** A network interface that a selected device carries. */
export interface Interface {
  address: string
  name: string
  /** Is it switched on (IFF_UP)? */
  up: boolean
  /** The interface alone, then every chain up through bonds, VLANs and bridges: `['eth0', 'bond0', 'br0']`. */
  chains: string[][]
}

/**
 * A route of the main table.
 * Source: Documentation/networking/proc_net_tcp, net/ipv4/fib_trie.c, net/ipv6/route.c.
 */
export interface Route {
  family: 4 | 6
  /** The destination: `default`, `192.168.1.0/24`. */
  destination: string
  device: string
  metric: number
  /** The address in hex digits in network order (8 or 32 of them), and the number of its bits that count. */
  prefix: { address: string; length: number }
}

export interface Network {
  interfaces: Interface[]
  routes: Route[]
  unseen: Unreadable[]
}

const NET = '/sys/class/net'
const UP = 1
// RTF_UP and RTF_REJECT of linux/route.h
const ROUTE_UP = 1
const ROUTE_REJECT = 0x200

/**
 * Reads the interfaces below the selected devices, and the routes. When there are none, only /sys/class/net is read.
 */
export function readNetwork(reader: Reader, selected: readonly PciDevice[]): Network {
  const names = reader.list(NET)
  if (names === undefined) {
    const carries = selected.some((device) => device.class.id.startsWith('02'))
    return { interfaces: [], routes: [], unseen: carries ? [{ what: `${NET} is not there`, root: false }] : [] }
  }
  const interfaces = names.flatMap((name) => {
    const path = reader.resolve(`${NET}/${name}`)
    const owner = path === undefined ? undefined : deviceAbove(path, selected)
    if (owner === undefined) return []
    const up = (Number(reader.text(`${NET}/${name}/flags`) ?? 0) & UP) !== 0
    return [{ address: owner.address, name, up, chains: chainsOf(reader, names, [name]) }]
  })
  return interfaces.length === 0 ? { interfaces, routes: [], unseen: [] } : withRoutes(reader, interfaces)
}

/** Reads the same of one interface by its name, whatever carries it; `address` is then that name. */
export function readInterface(reader: Reader, name: string): Network {
  const names = reader.list(NET)
  if (names === undefined) return { interfaces: [], routes: [], unseen: [{ what: `${NET} is not there`, root: false }] }
  const up = (Number(reader.optionalText(`${NET}/${name}/flags`) ?? 0) & UP) !== 0
  return withRoutes(reader, [{ address: name, name, up, chains: chainsOf(reader, names, [name]) }])
}

function withRoutes(reader: Reader, interfaces: Interface[]): Network {
  const four = readLines(reader, '/proc/net/route')
  const six = readLines(reader, '/proc/net/ipv6_route')
  // Without IPv6 there is no ipv6_route; without /proc/net/route nothing is known.
  const unreadable = four === undefined ? [{ what: 'the routes (/proc/net/route)', root: false }] : []
  return { interfaces, routes: [...parseIpv4Routes(four ?? []), ...parseIpv6Routes(six ?? [])], unseen: unreadable }
}

/**
 * Returns a chain and every longer one from it. Upper interfaces are links in the folder of the lower one
 * (Documentation/ABI/testing/sysfs-class-net). The switch of Open vSwitch has no link to the interfaces that it shows
 * the host: all virtual ones that rest on nothing may be its own.
 */
function chainsOf(reader: Reader, names: readonly string[], chain: readonly string[]): string[][] {
  const last = chain[chain.length - 1] ?? ''
  const entries = reader.list(`${NET}/${last}`) ?? []
  const above = new Set(entries.filter((entry) => entry.startsWith('upper_')).map((entry) => entry.slice(6)))
  const master = reader.linkName(`${NET}/${last}/master`)
  if (master !== undefined) above.add(master)
  if (last === 'ovs-system') for (const name of names) if (restsOnNothing(reader, name)) above.add(name)
  const ways = [...above].filter((name) => !chain.includes(name) && chain.length < 16)
  return [[...chain], ...ways.flatMap((name) => chainsOf(reader, names, [...chain, name]))]
}

function restsOnNothing(reader: Reader, name: string): boolean {
  const path = reader.resolve(`${NET}/${name}`)
  if (name === 'lo' || path === undefined || !path.startsWith('/sys/devices/virtual/net/')) return false
  return !reader.list(path)?.some((entry) => entry.startsWith('lower_'))
}

/**
 * Parses lines of Iface Destination Gateway Flags RefCnt Use Metric Mask …; addresses are as the machine keeps them in
 * memory.
 */
function parseIpv4Routes(lines: readonly string[]): Route[] {
  return lines.slice(1).flatMap((line) => {
    const [device = '', target = '', , flags = '', , , metric = '', mask = ''] = line.trim().split(/\s+/)
    const state = Number.parseInt(flags, 16)
    if (!/^[0-9A-F]{8}$/i.test(target) || (state & ROUTE_UP) === 0 || (state & ROUTE_REJECT) !== 0) return []
    const length = BigInt(`0x${mask}`).toString(2).replaceAll('0', '').length
    return [makeRoute(4, device, flipWords(target), length, Number(metric))]
  })
}

/**
 * Parses lines of destination, its length, source, its length, next hop, metric, reference count, use, flags (all hex),
 * device.
 */
function parseIpv6Routes(lines: readonly string[]): Route[] {
  return lines.flatMap((line) => {
    const [target = '', length = '', , , , metric = '', , , flags = '', device = ''] = line.trim().split(/\s+/)
    const state = Number.parseInt(flags, 16)
    if (!/^[0-9a-f]{32}$/i.test(target) || (state & ROUTE_UP) === 0 || (state & ROUTE_REJECT) !== 0) return []
    if (device === 'lo') return []
    return [makeRoute(6, device, target, Number.parseInt(length, 16), Number.parseInt(metric, 16))]
  })
}

function makeRoute(family: 4 | 6, device: string, target: string, length: number, metric: number): Route {
  const destination = length === 0 ? 'default' : `${shortAddress(target)}/${length}`
  return { family, destination, device, metric, prefix: { address: target, length } }
}

/**
 * Returns the most specific routes to an address (hex digits in network order); of these, those with the least metric.
 */
export function routesTo(routes: readonly Route[], peer: string): Route[] {
  const fits = routes.filter(({ prefix }) => {
    const shift = BigInt(4 * peer.length - prefix.length)
    const bits = (address: string): bigint => BigInt(`0x${address}`) >> shift
    return prefix.address.length === peer.length && bits(prefix.address) === bits(peer)
  })
  const longest = Math.max(...fits.map((each) => each.prefix.length))
  const best = fits.filter((each) => each.prefix.length === longest)
  const least = Math.min(...best.map((each) => each.metric))
  return best.filter((each) => each.metric === least)
}
