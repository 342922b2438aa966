import type { Reader } from './reader.ts'
import { readLines } from './readings.ts'

/** An established TCP connection. */
export interface TcpConnection {
  /** The number of its socket: `/proc/PID/fd/N` → `socket:[4711]`. */
  inode: string
  /** The address in hex digits in network order: 8, or 32 of IPv6. An IPv4-mapped address is given as its IPv4 one. */
  local: string
  localPort: number
  peer: string
}

const ESTABLISHED = '01'
const LISTENING = '0A'
const MAPPED = '00000000000000000000ffff'

/**
 * Returns the connections to other machines, IPv4 and IPv6; `undefined` when the tree does not say.
 * Source: Documentation/networking/proc_net_tcp.rst.
 */
export function readTcpConnections(reader: Reader): TcpConnection[] | undefined {
  const four = readLines(reader, '/proc/net/tcp')
  const six = readLines(reader, '/proc/net/tcp6')
  if (four === undefined && six === undefined) return undefined
  return [...(four ?? []), ...(six ?? [])].flatMap((line) => {
    const [, local = '', peer = '', state, , , , , , inode = ''] = line.trim().split(/\s+/)
    if (state !== ESTABLISHED || !peer.includes(':')) return []
    const session = {
      inode,
      local: parseSocketAddress(local),
      localPort: parseSocketPort(local),
      peer: parseSocketAddress(peer),
    }
    return /^7f.{6}$|^0{31}1$/.test(session.peer) ? [] : [session]
  })
}

/** Does a server listen on this TCP port? `null` when the tree does not say. */
export function listensOn(reader: Reader, port: number): boolean | null {
  const lines = ['/proc/net/tcp', '/proc/net/tcp6'].flatMap((path) => readLines(reader, path) ?? [])
  if (lines.length === 0) return null
  return lines.some((line) => {
    const [, local = '', , state] = line.trim().split(/\s+/)
    return state === LISTENING && parseSocketPort(local) === port
  })
}

function parseSocketAddress(text: string): string {
  const address = flipWords(text.slice(0, text.indexOf(':')))
  return address.startsWith(MAPPED) ? address.slice(MAPPED.length) : address
}

function parseSocketPort(text: string): number {
  return Number.parseInt(text.slice(text.indexOf(':') + 1), 16)
}

/**
 * Turns the bytes of each 32-bit word round. Addresses are shown as words of the machine's byte order, which is
 * little-endian on all that have VFIO.
 */
export function flipWords(hex: string): string {
  return hex.toLowerCase().replace(/(..)(..)(..)(..)/g, '$4$3$2$1')
}

/** Returns an address (hex digits in network order) as people write it: `192.168.1.7`, `fe80::1`. */
export function shortAddress(hex: string): string {
  if (hex.length === 8) return (hex.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)).join('.')
  const groups = (hex.match(/..../g) ?? []).map((group) => group.replace(/^0{1,3}/, ''))
  const text = groups.join(':')
  // RFC 5952: the longest run of zeros, of two at least, is left out.
  const runs = (text.match(/\b0(?::0)+\b/g) ?? []).sort((one, other) => other.length - one.length)
  const [longest] = runs
  return longest === undefined ? text : text.replace(new RegExp(`(^|:)${longest}(:|$)`), '::')
}

/** Returns the interface that has a local IPv6 address: link-local peers are behind it, whatever the routes say. */
export function interfaceOf(reader: Reader, address: string): string | undefined {
  const line = (readLines(reader, '/proc/net/if_inet6') ?? []).find((each) => each.startsWith(`${address} `))
  return line?.trim().split(/\s+/)[5]
}
