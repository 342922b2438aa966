import { headComment, type Setting } from '../../change/settings.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type NetworkConfig,
  ownFile,
  sectionText,
  sectionValues,
  tapReason,
  unmovable,
} from './network-config.ts'
import {
  deviceFile,
  findNetworkFile,
  findPossibleFile,
  type IniSections,
  NETWORKD,
  type NetworkFile,
} from './networkd-files.ts'

/** What is said of addresses, which are the bridge's; other sections are about the card. */
const ADDRESSES =
  /^(Network|Address|Neighbor|IPv6AddressLabel|RoutingPolicyRule|NextHop|Route|DHCP(v[46]|Server(StaticLease)?|PrefixDelegation|v6PrefixDelegation)?|IPv6(AcceptRA|SendRA|Prefix|RoutePrefix|PREF64Prefix|PrefixDelegation))$/
/** What of a card's own section its bridge is asked for too. */
const ONLINE = /^Required(FamilyFor|For)Online\s*=/
/** An interface has one master. */
const MASTERS = ['Bridge', 'Bond', 'VRF', 'BatmanAdvanced']
/** Ours have to be tried before any that matches the card or the bridge. */
const BASES = ['05-vfio-scripts', '00-vfio-scripts']

/**
 * systemd-networkd. The file that matches the card stays as it is; files of ours that sort before it make the card a
 * port, and give what it says to the bridge. Source: systemd.network(5), systemd.netdev(5).
 */
export const networkd: NetworkConfig = {
  name: 'systemd-networkd',
  documentation: 'https://www.freedesktop.org/software/systemd/man/latest/systemd.network.html',

  cardProof(files, port, mac) {
    if (networkd.activeProof(files) === undefined) return undefined
    const found = findNetworkFile(files, { name: port, mac })
    return found !== undefined && !isUnmanaged(found) ? found.path : undefined
  },

  activeProof: (files) =>
    ['multi-user', 'network-online', 'sysinit']
      .map((target) => `/etc/systemd/system/${target}.target.wants/systemd-networkd.service`)
      .find((path) => files.exists(path)),

  tap(files, { name, user, bridge }) {
    const reason = tapReason(name, user)
    const base = `${NETWORKD}/50-vfio-scripts-${name}`
    const head = headComment('tune-host')
    const device = `[NetDev]\nName=${name}\nKind=tap\n\n[Tap]\nUser=${user}\n`
    const port = `[Match]\nName=${name}\n\n[Network]\nBridge=${bridge}\n`
    return [
      ownFile(files, `${base}.netdev`, head, device, reason),
      ...(bridge === undefined
        ? []
        : [ownFile(files, `${base}.network`, head, port, `${name} is a port of ${bridge}`)]),
    ]
  },

  settings(files, request) {
    const { name, port, mac, vlan } = request
    const found = findNetworkFile(files, { name: port, mac })
    if (found === undefined) return []
    const bound = deviceFile(files, name)
    if (bound !== undefined) throw unmovable(`${bound}: makes an interface ${name} already; choose another name`)
    const head = headComment('tune-host')
    const lower = vlan === undefined ? port : `${port}.${vlan}`
    const first = [
      ...[{ name: port }, { name: lower }].map((one) => findPossibleFile(files, { ...one, mac })?.name),
      findPossibleFile(files, { name, mac, bridge: true })?.name,
    ].flatMap((one) => one ?? [])
    const base = BASES.find((one) => first.every((file) => `${one}-` < file))
    if (base === undefined)
      throw unmovable(
        `${NETWORKD}/${first.sort()[0]}: sorts before any file of ours; rename it (10-…), it has to stay later`,
      )
    const reason = bridgeReason(request)
    const file = (path: string, text: string, why = reason): Setting => ownFile(files, path, head, text, why)
    const ours = (ending: string, text: string, why?: string): Setting =>
      file(`${NETWORKD}/${base}-${ending}`, text, why)
    const address = mac === undefined || vlan !== undefined ? '' : `MACAddress=${mac}\n`
    const bridge = ours(`${name}.netdev`, `[NetDev]\nName=${name}\nKind=bridge\n${address}`)
    if (vlan !== undefined) {
      if (sectionValues(found.sections, 'Match', 'Name').join() !== port)
        throw unmovable(
          `${found.path}: matches more than ${port}; give ${port} a file of its own with VLAN=${lower} in [Network]`,
        )
      const dropIn = `${NETWORKD}/${found.name}.d/vfio-scripts.conf`
      return [
        bridge,
        ours(`${lower}.netdev`, `[NetDev]\nName=${lower}\nKind=vlan\n\n[VLAN]\nId=${vlan}\n`, `VLAN ${vlan}`),
        file(dropIn, `[Network]\nVLAN=${lower}\n`, `VLAN ${vlan} on ${port}`),
        ours(`${lower}.network`, `[Match]\nName=${lower}\n\n[Network]\nBridge=${name}\n`),
        ours(
          `${name}.network`,
          `[Match]\nName=${name}\n\n[Network]\nLinkLocalAddressing=no\n`,
          'no address of the host',
        ),
      ]
    }
    const { stay, move } = splitSections(found)
    const ids = dhcpIdSections(found.sections, request)
    return [
      bridge,
      ours(`${port}.network`, `[Match]\nName=${port}\n\n[Network]\nBridge=${name}\n${stay}`),
      ours(`${name}.network`, `[Match]\nName=${name}\n${move}${ids}`, `what ${found.path} says, for ${name}`),
    ]
  },

  notes(files, request) {
    const found = findNetworkFile(files, { name: request.port, mac: request.mac })
    return found === undefined || request.vlan !== undefined ? [] : addressNotes(found.sections, request)
  },
}

function isUnmanaged({ sections }: NetworkFile): boolean {
  return isOn(sectionValues(sections, 'Link', 'Unmanaged').at(-1))
}

/** What stays with the card, as a text that goes on in [Network], and what goes to the bridge. */
function splitSections({ path, sections }: NetworkFile): { stay: string; move: string } {
  const master = MASTERS.find((key) => sectionValues(sections, 'Network', key).length > 0)
  if (master !== undefined)
    throw unmovable(
      `${path}: has ${master}=${sectionValues(sections, 'Network', master).at(-1)}; an interface has one master`,
    )
  let [stay, move] = ['', '']
  for (const { name, lines } of sections) {
    if (name === 'Match') continue
    if (ADDRESSES.test(name)) move += sectionText(name, lines)
    else
      stay += sectionText(
        name,
        lines.filter((line) => !ONLINE.test(line) || /=\s*(no|false|off|0)$/.test(line)),
      )
    if (name === 'Link')
      move += sectionText(
        name,
        lines.filter((line) => ONLINE.test(line)),
      )
  }
  return { stay, move }
}

/** The client ID that the server knows the card by: without a name from udev, the bridge would have another. */
function dhcpIdSections(sections: IniSections, { iaid }: BridgeRequest): string {
  if (iaid === undefined) return ''
  // That of DHCPv4 is DHCPv6's too, unless that has one of its own.
  const reported = (...names: string[]): boolean => names.some((one) => sectionValues(sections, one, 'IAID').length > 0)
  if (reported('DHCPv4', 'DHCP')) return ''
  return ['DHCPv4', 'DHCPv6'].map((one) => (reported(one) ? '' : sectionText(one, [`IAID=${iaid}`]))).join('')
}

/** Which addresses hang on what a bridge has not. */
export function addressNotes(sections: IniSections, { name, port, iaid, mac }: BridgeRequest): string[] {
  const dhcp = sectionValues(sections, 'Network', 'DHCP').at(-1)
  const byMac = ['DHCPv4', 'DHCP'].some((one) => sectionValues(sections, one, 'ClientIdentifier').at(-1) === 'mac')
  const made = ['IPv6AcceptRA', 'Network'].some((one) =>
    sectionValues(sections, one, one === 'Network' ? 'IPv6LinkLocalAddressGenerationMode' : 'Token').some((value) =>
      /stable/.test(value),
    ),
  )
  return [
    ...(iaid === undefined && !byMac && (isOn(dhcp) || /^(ipv4|ipv6|both)$/.test(dhcp ?? ''))
      ? [
          `DHCP: ${name} may get another address than ${port} has: the client ID is made from a name that udev gives ${port}, which is not known here. Run this on the host itself while ${port} is up, or have the server go by the address ${mac ?? 'of the card'} (ClientIdentifier=mac).`,
        ]
      : []),
    ...(made ? [`IPv6: ${name} gets another address than ${port} has: it is made from the interface's name.`] : []),
  ]
}

function isOn(value: string | undefined): boolean {
  return /^(yes|true|on|1|y|t)$/i.test(value ?? '')
}
