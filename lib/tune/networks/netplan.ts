import type { Setting } from '../../change/settings.ts'
import { iaidOfName } from '../../host/network-card.ts'
import type { Reader } from '../../host/reader.ts'
import {
  fileWith,
  findNetplanBlocks,
  keysOf,
  NETPLAN_FOLDER,
  NETPLAN_OWN_FILE,
  type NetplanBlock,
  ownersOf,
  valueIn,
  yamlFiles,
} from './netplan-blocks.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type IniSections,
  type NetworkConfig,
  ownFile,
  sectionText,
  unmovable,
} from './network-config.ts'
import { networkManager } from './network-manager.ts'
import { addressNotes, networkd } from './networkd.ts'
import { isSix, type OwnAddresses, ofFamily } from './own-addresses.ts'

/** The keys that stay with the card, whatever rests on it. */
const CARDS =
  /^(match|set-name|mtu|macaddress|wakeonlan|emit-lldp|[\w-]*offload|auth|virtual-function-count|embedded-switch-mode|delay-virtual-functions-rebind|infiniband-mode|networkmanager|link)$/
/** The keys that both card and bridge get. */
const BOTH = /^(renderer|optional)$/

/**
 * netplan of Ubuntu. It joins lists of several files, so addresses can only be moved by an edit of the file that has
 * them. Source: netplan(5), netplan-generate(8).
 */
export const netplan: NetworkConfig = {
  name: 'netplan',
  documentation: 'https://netplan.readthedocs.io/en/stable/netplan-yaml/',

  cardProof: (files, port, mac) => (hasNetplan(files) ? findNetplanBlocks(files, port, mac)[0]?.path : undefined),

  activeProof(files) {
    const name = hasNetplan(files) ? files.list(NETPLAN_FOLDER)?.find((one) => one.endsWith('.yaml')) : undefined
    return name && `${NETPLAN_FOLDER}/${name}`
  },

  // netplan has no TAP devices; the program that it writes for also reads files of its own.
  tap(files, request) {
    return (rendererOf(files, undefined) === 'NetworkManager' ? networkManager : networkd).tap(files, request)
  },

  bridge(files, request) {
    const { name, port, mac, vlan, own: host, lower } = request
    const reason = bridgeReason(request)
    const own = (text: string): Setting => ownFile(files, NETPLAN_OWN_FILE, text, reason, 0o600)
    const block = findMovableBlock(files, request)
    if (block === undefined) return { settings: [] }
    if (vlan !== undefined)
      return {
        settings: [
          own(
            `network:\n  version: 2\n  vlans:\n    ${lower}:\n      id: ${vlan}\n      link: ${block.id}\n  bridges:\n    ${name}:\n      dhcp4: false\n      dhcp6: false\n${addressText(host)}      interfaces: [${lower}]\n`,
          ),
        ],
      }
    const parts = keysOf(block)
    const stay = parts.filter(({ key }) => CARDS.test(key) || BOTH.test(key)).flatMap(({ lines }) => lines)
    const move = parts.filter(({ key }) => !CARDS.test(key)).flatMap(({ lines }) => lines)
    const pad = ' '.repeat(block.indent)
    const from = block.lines.join('\n')
    const to = [
      (block.lines[0] ?? '').replace(/\s*\{\s*\}/, ''),
      ...stay,
      `${pad}dhcp4: false`,
      `${pad}dhcp6: false`,
    ].join('\n')
    const given = mac ?? valueIn(block.lines, 'macaddress')
    const address = given === undefined ? [] : [`macaddress: ${given}`]
    const typed = block.renderer !== undefined && !parts.some(({ key }) => key === 'renderer')
    const renderer = typed ? [`renderer: ${block.renderer}`] : []
    const managed = rendererOf(files, block) === 'NetworkManager'
    const told = !managed || parts.some(({ key }) => key === 'networkmanager')
    const identity = told ? [] : ['networkmanager:', '  passthrough:', `    ipv6.dhcp-iaid: "${iaidOfName(port)}"`]
    // By default NetworkManager's bridges speak STP: no network for half a minute, and a switch may close its port.
    const stp = ['parameters:', '  stp: false']
    const added = [`interfaces: [${block.id}]`, ...stp, ...address, ...renderer, ...identity]
    const lines = [...added, ...move.map((line) => line.slice(block.indent))].map((line) => `      ${line}\n`)
    return {
      settings: [
        own(`network:\n  version: 2\n  bridges:\n    ${name}:\n${lines.join('')}`),
        { kind: 'replaced-lines', path: files.resolve(block.path) ?? block.path, from, to, reason },
        ...(managed ? [] : dhcpIdentity(files, request)),
      ],
      notes: managed ? [] : addressNotes(networkdSections(block), request),
    }
  },
}

/** Returns what a bridge in a VLAN says of the host's own addresses. A default route is written for old netplan too. */
function addressText(own: OwnAddresses | null): string {
  if (own === null) return '      link-local: []\n'
  const { addresses, gateways, dns } = own
  const six = ofFamily(addresses, true).length > 0
  const list = (name: string, values: readonly string[]): string[] => [`${name}:`, ...values.map((one) => `- ${one}`)]
  const lines = [
    ...(six ? ['link-local: [ipv6]'] : ['link-local: []']),
    'accept-ra: false',
    ...list(
      'addresses',
      addresses.map((one) => `"${one}"`),
    ),
    ...(gateways.length === 0 ? [] : ['routes:']),
    ...gateways.flatMap((one) => [`- to: "${isSix(one) ? '::/0' : '0.0.0.0/0'}"`, `  via: "${one}"`]),
    ...(dns.length === 0
      ? []
      : [
          'nameservers:',
          ...list(
            'addresses',
            dns.map((one) => `"${one}"`),
          ).map((one) => `  ${one}`),
        ]),
  ]
  return lines.map((line) => `      ${line}\n`).join('')
}

function hasNetplan(files: Reader): boolean {
  return ['/usr/sbin/netplan', '/sbin/netplan'].some((path) => files.exists(path))
}

/** Returns what netplan tells systemd-networkd of the card's addresses. */
function networkdSections({ lines }: NetplanBlock): IniSections {
  const asks = ['dhcp4', 'dhcp6'].some((key) => /^(true|yes|on|y)$/i.test(valueIn(lines, key) ?? ''))
  const stable = valueIn(lines, 'ipv6-address-generation') === 'stable-privacy'
  const byMac = valueIn(lines, 'dhcp-identifier') === 'mac'
  return [
    {
      name: 'Network',
      lines: [...(asks ? ['DHCP=yes'] : []), ...(stable ? ['IPv6LinkLocalAddressGenerationMode=stable-privacy'] : [])],
    },
    { name: 'DHCPv4', lines: byMac ? ['ClientIdentifier=mac'] : [] },
  ]
}

/** Finds the card's block. Throws a UserError, code `unknown-system`, for one that cannot be moved for certain. */
function findMovableBlock(files: Reader, { name, port, mac }: BridgeRequest): NetplanBlock | undefined {
  const [block, ...more] = findNetplanBlocks(files, port, mac)
  if (block === undefined) return undefined
  if (more.length > 0) throw unmovable(`${port}: ${block.path} and ${more[0]?.path} both set it up; join them first`)
  const [owner] = ownersOf(files, block.id)
  if (owner !== undefined) throw unmovable(`${owner}: ${port} is a part of a bond or of a bridge already`)
  const bound = fileWith(files, name)
  if (bound !== undefined) throw unmovable(`${bound}: has ${name} already; choose another name`)
  const odd = keysOf(block).find(({ key }) => key === 'openvswitch' || key === 'activation-mode' || key === '')
  if (odd !== undefined) throw unmovable(`${block.path}: "${odd.lines.at(-1)?.trim()}" of ${port} goes with no bridge`)
  return block
}

/** Returns the renderer: of this card, of all cards, or systemd-networkd. */
function rendererOf(files: Reader, block: NetplanBlock | undefined): string {
  const own = block === undefined ? undefined : (valueIn(block.lines, 'renderer') ?? block.renderer)
  const said = yamlFiles(files).flatMap(({ lines }) => {
    const inner = lines.flatMap(
      (line) => /^( *)(version|ethernets|bonds|bridges|vlans|wifis|renderer):/.exec(line)?.[1]?.length ?? [],
    )
    const least = inner.length > 0 ? Math.min(...inner) : 0
    return lines.filter((line) => new RegExp(`^ {${least}}renderer:`).test(line))
  })
  return own ?? valueIn(said.slice(-1), 'renderer') ?? 'networkd'
}

/** Returns settings that keep the ID by which DHCP servers know the host: it is made from the card's name. */
function dhcpIdentity(files: Reader, { name, port, iaid }: BridgeRequest): Setting[] {
  if (iaid === undefined) return []
  const path = `/etc/systemd/network/10-netplan-${name}.network.d/vfio-scripts.conf`
  const text = ['DHCPv4', 'DHCPv6'].map((one) => sectionText(one, [`IAID=${iaid}`])).join('')
  return [ownFile(files, path, text, `${name} is known to DHCP servers as ${port} was`)]
}
