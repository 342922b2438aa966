import { UserError } from '../../core/error.ts'
import { readInterface } from '../../host/network.ts'
import type { Reader } from '../../host/reader.ts'
import type { Arguments } from '../../terminal/options.ts'

/** What the host itself has on the bridge of a VLAN. */
export interface OwnAddresses {
  /** With the length of the network: `10.0.0.37/24`. */
  addresses: string[]
  /** Where the default route leads, one a family at most. */
  gateways: string[]
  dns: string[]
}

/** Is it an IPv6 address, of those that were checked? */
export function isSix(address: string): boolean {
  return address.includes(':')
}

/** Returns those of the family. */
export function ofFamily(addresses: readonly string[], six: boolean): string[] {
  return addresses.filter((address) => isSix(address) === six)
}

/**
 * Reads the host's addresses on the bridge of a VLAN; `null`: it has none. Throws a UserError: `usage`,
 * `contradiction`.
 */
export function ownAddresses(
  machine: Reader,
  given: Arguments,
  { name: bridge, port }: { name: string; port: string },
): OwnAddresses | null {
  const [addresses, gateways, dns] = [given.list('address'), given.list('gateway'), given.list('dns')]
  const usage = (message: string): UserError => new UserError('usage', message)
  if (addresses.length === 0) {
    const [alone] = ['gateway', 'dns'].filter((name) => given.list(name).length > 0)
    if (alone !== undefined) throw usage(`--${alone} goes with --address, the host's own in the VLAN`)
    return null
  }
  if (given.value('vlan') === undefined)
    throw usage(`--address goes with --vlan: without a VLAN the bridge gets the addresses that ${port} has`)
  const networks = addresses.map((text) => {
    const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? []
    const bits = addressBits(address)
    if (bits === undefined || Number(length) < 1 || Number(length) > bits.length)
      throw usage(`--address ${text}: write an address with the length of its network, such as 10.0.0.37/24`)
    return { six: isSix(address), bits: bits.slice(0, Number(length)) }
  })
  for (const [name, list] of [['gateway', gateways] as const, ['dns', dns] as const])
    for (const text of list)
      if (addressBits(text) === undefined)
        throw usage(`--${name} ${text}: this is no address; write one such as 10.0.0.1`)
  for (const gateway of gateways)
    if (!networks.some(({ six, bits }) => six === isSix(gateway) && addressBits(gateway)?.startsWith(bits)))
      throw usage(`--gateway ${gateway}: is in no network of --address, so that nothing reaches it`)
  const foreign = dns.find((text) => !networks.some(({ six }) => six === isSix(text)))
  if (foreign !== undefined)
    throw usage(
      `--dns ${foreign}: the host has no IPv${isSix(foreign) ? 6 : 4} address in the VLAN; add one with --address`,
    )
  // The bridge's own is there where the same is asked for again.
  const defaults = readInterface(machine, port).routes.filter(
    ({ destination, device }) => destination === 'default' && device !== bridge,
  )
  for (const six of [false, true]) {
    const [gateway, more] = ofFamily(gateways, six)
    if (more !== undefined) throw usage(`--gateway ${more}: the host has one default route, by ${gateway}`)
    const present = defaults.find(({ family }) => family === (six ? 6 : 4))
    if (gateway !== undefined && present !== undefined)
      throw new UserError(
        'contradiction',
        `--gateway ${gateway}: this host has a default route by ${present.device} already; leave --gateway out, or take that one out first`,
      )
  }
  return { addresses: [...addresses], gateways: [...gateways], dns: [...dns] }
}

/** Returns the bits of an address, 32 or 128 of them, as text; `undefined` for what is none. */
function addressBits(text: string): string | undefined {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)?.slice(1).map(Number)
  if (four !== undefined) return four.every((part) => part < 256) ? bitsOf(four, 8) : undefined
  if (!/^[0-9a-fA-F:]+$/.test(text) || !URL.canParse(`http://[${text}]/`)) return undefined
  const [head = '', tail] = new URL(`http://[${text}]/`).hostname.slice(1, -1).split('::')
  const words = (part: string | undefined): number[] =>
    part ? part.split(':').map((word) => Number.parseInt(word, 16)) : []
  const [left, right] = [words(head), words(tail)]
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => 0)
  return bitsOf([...left, ...zeros, ...right], 16)
}

function bitsOf(numbers: readonly number[], width: number): string {
  return numbers.map((number) => number.toString(2).padStart(width, '0')).join('')
}
