import type { Setting } from '../../change/settings.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type IniSections,
  lastValue,
  type NetworkConfig,
  ownFile,
  sectionText,
  sectionValues,
  tapReason,
  unmovable,
} from './network-config.ts'
import { deviceFile, findNetworkFile, findPossibleFile, NETWORKD, type NetworkFile } from './networkd-files.ts'
import { type OwnAddresses, ofFamily } from './own-addresses.ts'

/** The sections about addresses, which go to the bridge; other sections are about the card. */
const ADDRESSES =
  /^(Network|Address|Neighbor|IPv6AddressLabel|RoutingPolicyRule|NextHop|Route|DHCP(v[46]|Server(StaticLease)?|PrefixDelegation|v6PrefixDelegation)?|IPv6(AcceptRA|SendRA|Prefix|RoutePrefix|PREF64Prefix|PrefixDelegation))$/
/** The lines of [Link] about being online, which go to the bridge. */
const ONLINE = /^Required(FamilyFor|For)Online\s*=/
/** The keys that name a master; an interface has only one. */
const MASTERS = ['Bridge', 'Bond', 'VRF', 'BatmanAdvanced']
/** The starts of our files' names, which must be tried before any file that matches the card or the bridge. */
const BASES = ['05-vfio-scripts', '00-vfio-scripts']

/**
 * systemd-networkd. The file that matches the card stays unchanged; files of ours that sort before it make the card a
 * port, and give its sections about addresses to the bridge. Source: systemd.network(5), systemd.netdev(5).
 */
export const networkd: NetworkConfig = {
  name: 'systemd-networkd',
  documentation: 'https://www.freedesktop.org/software/systemd/man/latest/systemd.network.html',

  cardProof(files, port, mac) {
    if (networkd.activeProof(files) === undefined) return undefined
    const found = findNetworkFile(files, { name: port, mac })
    return found !== undefined && !isOn(lastValue(found.sections, 'Link', 'Unmanaged')) ? found.path : undefined
  },

  activeProof: (files) =>
    ['multi-user', 'network-online', 'sysinit']
      .map((target) => `/etc/systemd/system/${target}.target.wants/systemd-networkd.service`)
      .find((path) => files.exists(path)),

  tap(files, { name, user, bridge }) {
    const base = `${NETWORKD}/50-vfio-scripts-${name}`
    const device = `[NetDev]\nName=${name}\nKind=tap\n\n[Tap]\nUser=${user}\n`
    const made = ownFile(files, `${base}.netdev`, device, tapReason(name, user))
    if (bridge === undefined) return [made]
    return [made, ownFile(files, `${base}.network`, portOf(bridge, name), `${name} is a port of ${bridge}`)]
  },

  bridge(files, request) {
    const { name, port, mac, vlan, own, lower } = request
    const found = findNetworkFile(files, { name: port, mac })
    if (found === undefined) return { settings: [] }
    const bound = deviceFile(files, name)
    if (bound !== undefined) throw unmovable(`${bound}: makes an interface ${name} already; choose another name`)
    const first = [{ name: port }, { name: lower }, { name, bridge: true }].flatMap(
      (one) => findPossibleFile(files, { ...one, mac })?.name ?? [],
    )
    const base = BASES.find((one) => first.every((file) => `${one}-` < file))
    if (base === undefined)
      throw unmovable(
        `${NETWORKD}/${first.sort()[0]}: sorts before any file of ours; rename it (10-…), it has to stay later`,
      )
    const file = (path: string, text: string, why = bridgeReason(request)): Setting =>
      ownFile(files, `${NETWORKD}/${path}`, text, why)
    const address = mac === undefined || vlan !== undefined ? '' : `MACAddress=${mac}\n`
    const bridge = file(`${base}-${name}.netdev`, `[NetDev]\nName=${name}\nKind=bridge\n${address}`)
    if (vlan !== undefined) {
      if (sectionValues(found.sections, 'Match', 'Name').join() !== port)
        throw unmovable(
          `${found.path}: matches more than ${port}; give ${port} a file of its own with VLAN=${lower} in [Network]`,
        )
      const device = `[NetDev]\nName=${lower}\nKind=vlan\n\n[VLAN]\nId=${vlan}\n`
      const host = `[Match]\nName=${name}\n${ownSection(own)}`
      return {
        settings: [
          bridge,
          file(`${base}-${lower}.netdev`, device, `VLAN ${vlan}`),
          file(`${found.name}.d/vfio-scripts.conf`, `[Network]\nVLAN=${lower}\n`, `VLAN ${vlan} on ${port}`),
          file(`${base}-${lower}.network`, portOf(name, lower)),
          file(
            `${base}-${name}.network`,
            host,
            own === null ? 'no address of the host' : `the host has ${own.addresses.join(' and ')}`,
          ),
        ],
      }
    }
    const { stay, move } = splitSections(found)
    const moved = `[Match]\nName=${name}\n${move}${dhcpIdSections(found.sections, request)}`
    return {
      settings: [
        bridge,
        file(`${base}-${port}.network`, `${portOf(name, port)}${stay}`),
        file(`${base}-${name}.network`, moved, `what ${found.path} says, for ${name}`),
      ],
      notes: addressNotes(found.sections, request),
    }
  },
}

/** Returns the section of a bridge in a VLAN: what the host itself has there. */
function ownSection(own: OwnAddresses | null): string {
  const { addresses = [], gateways = [], dns = [] } = own ?? {}
  return sectionText('Network', [
    `LinkLocalAddressing=${ofFamily(addresses, true).length > 0 ? 'ipv6' : 'no'}`,
    ...(own === null ? [] : ['IPv6AcceptRA=no']),
    ...addresses.map((one) => `Address=${one}`),
    ...gateways.map((one) => `Gateway=${one}`),
    ...dns.map((one) => `DNS=${one}`),
  ])
}

function portOf(bridge: string, interfaceName: string): string {
  return `[Match]\nName=${interfaceName}\n\n[Network]\nBridge=${bridge}\n`
}

/** Splits the file: `stay` is the card's part, a text that continues [Network], and `move` is the bridge's part. */
function splitSections({ path, sections }: NetworkFile): { stay: string; move: string } {
  const master = MASTERS.find((key) => sectionValues(sections, 'Network', key).length > 0)
  if (master !== undefined)
    throw unmovable(`${path}: has ${master}=${lastValue(sections, 'Network', master)}; an interface has one master`)
  const text = (name: string, lines: readonly string[], isWanted: (line: string) => boolean): string =>
    sectionText(name, lines.filter(isWanted))
  let [stay, move] = ['', '']
  for (const { name, lines } of sections) {
    if (name === 'Match') continue
    if (ADDRESSES.test(name)) move += sectionText(name, lines)
    else stay += text(name, lines, (line) => !ONLINE.test(line) || /=\s*(no|false|off|0)$/.test(line))
    if (name === 'Link') move += text(name, lines, (line) => ONLINE.test(line))
  }
  return { stay, move }
}

/** Returns the client ID by which the server knows the card: a bridge, without a name from udev, would get another. */
function dhcpIdSections(sections: IniSections, { iaid }: BridgeRequest): string {
  if (iaid === undefined) return ''
  // DHCPv6 uses the IAID of DHCPv4, unless it has its own.
  const reported = (...names: string[]): boolean => names.some((one) => sectionValues(sections, one, 'IAID').length > 0)
  if (reported('DHCPv4', 'DHCP')) return ''
  return ['DHCPv4', 'DHCPv6'].map((one) => (reported(one) ? '' : sectionText(one, [`IAID=${iaid}`]))).join('')
}

/** Returns notes on addresses that may change, because they are made from properties that a bridge does not have. */
export function addressNotes(sections: IniSections, { name, port, iaid, mac }: BridgeRequest): string[] {
  const dhcp = lastValue(sections, 'Network', 'DHCP')
  const byMac = ['DHCPv4', 'DHCP'].some((one) => lastValue(sections, one, 'ClientIdentifier') === 'mac')
  const byName = [
    ...sectionValues(sections, 'IPv6AcceptRA', 'Token'),
    ...sectionValues(sections, 'Network', 'IPv6LinkLocalAddressGenerationMode'),
  ].some((value) => /stable/.test(value))
  return [
    ...(iaid === undefined && !byMac && (isOn(dhcp) || /^(ipv4|ipv6|both)$/.test(dhcp))
      ? [
          `DHCP: ${name} may get another address than ${port} has: the client ID is made from a name that udev gives ${port}, which is not known here. Run this on the host itself while ${port} is up, or have the server go by the address ${mac ?? 'of the card'} (ClientIdentifier=mac).`,
        ]
      : []),
    ...(byName ? [`IPv6: ${name} gets another address than ${port} has: it is made from the interface's name.`] : []),
  ]
}

function isOn(value: string): boolean {
  return /^(yes|true|on|1|y|t)$/i.test(value)
}
