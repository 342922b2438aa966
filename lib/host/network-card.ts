import type { Reader } from './reader.ts'

/** A network interface that is to become a port of a bridge. */
export interface BridgePort {
  name: string
  /** The MAC address: `52:54:00:12:34:56`; `undefined` where /sys does not say. */
  mac: string | undefined
  /**
   * The identity association ID (IAID) of its DHCP client under systemd-networkd: part of the client ID by which a
   * server knows the host. A bridge has no persistent name, and so another IAID. `undefined`: neither a lease nor
   * udev's database says.
   */
  iaid: number | undefined
  /** The UUID of the profile with which NetworkManager has it up; `undefined`: none, or not known. */
  active: string | undefined
}

const NET = '/sys/class/net'
/** The kinds of names in systemd's order: src/libsystemd-network/network-common.c, net_get_persistent_name(). */
const PERSISTENT = ['ONBOARD', 'SLOT', 'PATH', 'MAC']
/**
 * HASH_KEY of systemd's dhcp-duid-internal.h, which is the same on every host; NetworkManager's sources have it too.
 */
const KEY = [0xee034afec28c1180n, 0x091439366f0cd63en] as const

/** Reads what the kernel, udev, systemd-networkd and NetworkManager say of an interface. */
export function readBridgePort(machine: Reader, name: string): BridgePort {
  const mac = machine.optionalText(`${NET}/${name}/address`)?.trim().toLowerCase()
  const index = machine.optionalText(`${NET}/${name}/ifindex`)?.trim()
  const iaid = index === undefined ? undefined : iaidOf(machine, index, mac)
  const device = index === undefined ? undefined : machine.optionalText(`/run/NetworkManager/devices/${index}`)
  return { name, mac: mac || undefined, iaid, active: /^connection-uuid=(.+)$/m.exec(device ?? '')?.[1] }
}

/**
 * Returns the IAID that the current lease was asked for with; else the one that systemd-networkd makes of the
 * persistent name that udev gave, or of the MAC address where there is none.
 * Source: dhcp_identifier_set_iaid() of systemd.
 */
function iaidOf(machine: Reader, index: string, mac: string | undefined): number | undefined {
  const lease = machine.optionalText(`/run/systemd/netif/leases/${index}`)
  const used = /^CLIENTID=ff([0-9a-f]{8})/m.exec(lease ?? '')?.[1]
  if (used !== undefined) return Number.parseInt(used, 16)
  const udev = machine.optionalText(`/run/udev/data/n${index}`)
  if (udev === undefined) return undefined
  const names = PERSISTENT.map((kind) => new RegExp(`^E:ID_NET_NAME_${kind}=(.+)$`, 'm').exec(udev)?.[1])
  const name = names.find((one) => one !== undefined)
  if (name !== undefined) return iaidOfName(name)
  return mac === undefined ? undefined : hashIaid(mac.split(':').map((byte) => Number.parseInt(byte, 16)))
}

/** Returns the IAID that systemd and NetworkManager make of a name. */
export function iaidOfName(name: string): number {
  return hashIaid([...name].map((letter) => letter.charCodeAt(0)))
}

/** Returns the exclusive or of both halves of SipHash-2-4. */
function hashIaid(bytes: readonly number[]): number {
  const hash = sipHash(bytes)
  return Number((hash & 0xffffffffn) ^ (hash >> 32n))
}

/** Returns SipHash-2-4 with systemd's key. Source: J.-P. Aumasson, D. J. Bernstein, SipHash, section 2. */
function sipHash(bytes: readonly number[]): bigint {
  const cut = (value: bigint): bigint => BigInt.asUintN(64, value)
  const turn = (value: bigint, by: bigint): bigint => cut(value << by) | (value >> (64n - by))
  let [a, b, c, d] = [
    KEY[0] ^ 0x736f6d6570736575n,
    KEY[1] ^ 0x646f72616e646f6dn,
    KEY[0] ^ 0x6c7967656e657261n,
    KEY[1] ^ 0x7465646279746573n,
  ]
  const rounds = (count: number): void => {
    for (let round = 0; round < count; round++) {
      a = cut(a + b)
      b = turn(b, 13n) ^ a
      a = turn(a, 32n)
      c = cut(c + d)
      d = turn(d, 16n) ^ c
      a = cut(a + d)
      d = turn(d, 21n) ^ a
      c = cut(c + b)
      b = turn(b, 17n) ^ c
      c = turn(c, 32n)
    }
  }
  const padded = [...bytes, ...Array<number>(7 - (bytes.length % 8)).fill(0), bytes.length & 0xff]
  for (let at = 0; at < padded.length; at += 8) {
    const word = padded.slice(at, at + 8).reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n)
    d ^= word
    rounds(2)
    a ^= word
  }
  c ^= 0xffn
  rounds(4)
  return a ^ b ^ c ^ d
}
