import { flipWords } from './sockets.ts'

/**
 * Returns a function that replaces public addresses in the tables of /proc/net by such as documentation uses, network
 * by network: addresses of one network stay together, and routes lead where they led. Private and link-local addresses
 * identify nobody and stay.
 */
export function openAddresses(): (text: string) => string {
  const fours = new Map<string, number>()
  const sixes = new Map<string, number>()
  const hosts = new Map<string, number>()
  const count = (known: Map<string, number>, key: string): number => {
    if (!known.has(key)) known.set(key, known.size + 1)
    return known.get(key) ?? 0
  }
  const hex = (value: number, digits: number): string => (value % 16 ** digits).toString(16).padStart(digits, '0')
  // IPv4 addresses become addresses of RFC 2544, IPv6 addresses those of RFC 3849.
  const four = (plain: string): string => {
    const bytes = (plain.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16))
    const [one = 0, two = 0] = bytes
    const local =
      one === 0 ||
      one === 10 ||
      one === 127 ||
      one >= 224 ||
      (one === 172 && two >> 4 === 1) ||
      (one === 192 && two === 168)
    return local || (one === 169 && two === 254)
      ? plain
      : `c612${hex(count(fours, plain.slice(0, 6)), 2)}${plain.slice(6)}`
  }
  const six = (plain: string): string => {
    if (/^0{20}ffff/.test(plain)) return plain.slice(0, 24) + four(plain.slice(24))
    if (!/^[23]/.test(plain)) return plain
    const end = plain.slice(16)
    const host = /^0{16}$/.test(end) ? end : hex(count(hosts, end), 16)
    return `20010db8${hex(count(sixes, plain.slice(0, 16)), 8)}${host}`
  }
  const inMemory = (change: (plain: string) => string) => (text: string) =>
    flipWords(change(flipWords(text))).toUpperCase()
  return (text) =>
    text
      // The address of a connection (`0100007F:0016`, or four words of IPv6), as the machine keeps it in memory.
      .replace(/\b([0-9A-F]{32})(?=:[0-9A-F]{4}\b)/g, inMemory(six))
      .replace(/(?<![0-9A-F])([0-9A-F]{8})(?=:[0-9A-F]{4}\b)/g, inMemory(four))
      // The target and the gateway of a route.
      .replace(/^(\S+\t)([0-9A-F]{8})\t([0-9A-F]{8})(?=\t)/gm, (_, name: string, target: string, gateway: string) =>
        [name + inMemory(four)(target), inMemory(four)(gateway)].join('\t'),
      )
      // The addresses of ipv6_route and if_inet6, which are in network order.
      .replace(/(?<=^|\s)[0-9a-f]{32}(?=\s)/gm, six)
}
