import type { Setting } from '../../change/settings.ts'
import type { Reader } from '../../host/reader.ts'
import { DEFAULT_RUNLEVEL, type ExternalToolName, INIT_FOLDER } from '../../system/external-tools.ts'
import {
  type BridgeRequest,
  bridgeReason,
  configText,
  type NetworkConfig,
  tapReason,
  unknownLine,
  unmovable,
} from './network-config.ts'
import type { OwnAddresses } from './own-addresses.ts'

const NET = '/etc/conf.d/net'

/** Gentoo's netifrc: variables of /etc/conf.d/net whose names end in the interface's. Source: its net.example. */
export const netifrc: NetworkConfig = {
  name: 'netifrc',
  documentation: 'https://wiki.gentoo.org/wiki/Netifrc',

  cardProof(files, port) {
    const isConfigured = new RegExp(`^\\s*config_${variableSuffix(port)}=`, 'm').test(configText(files, NET))
    return isConfigured ? netifrc.activeProof(files) : undefined
  },

  activeProof: (files) => (files.exists(NET) && files.exists('/etc/init.d/net.lo') ? NET : undefined),

  tap(files, { name, user, bridge }) {
    const path = files.resolve(NET) ?? NET
    const reason = tapReason(name, user)
    const variable = variableSuffix(name)
    const lines = [
      `tuntap_${variable}="tap"`,
      `iproute2_${variable}="user ${user}"`,
      `config_${variable}="null"`,
      ...(bridge === undefined
        ? []
        : [`bridge_add_${variable}="${bridge}"`, `rc_net_${variable}_need="net.${bridge}"`]),
    ]
    return [...lines.map((line): Setting => ({ kind: 'line', path, line, reason })), ...runlevelSettings(files, name)]
  },

  bridge(files, request) {
    const { name, port, mac, vlan, own: host, lower } = request
    const path = files.resolve(NET) ?? NET
    const reason = bridgeReason(request)
    const text = configText(files, NET)
    expectMovable(text, request)
    const [bridge, card] = [variableSuffix(name), variableSuffix(port)]
    const own =
      vlan === undefined
        ? [
            `config_${card}="null"`,
            // Without it, systemd's 99-default.link gives the bridge another address.
            ...(mac === undefined ? [] : [`mac_${bridge}="${mac}"`]),
            `bridge_${bridge}="${lower}"`,
          ]
        : [
            `vlans_${card}="${vlan}"`,
            `config_${variableSuffix(lower)}="null"`,
            `bridge_${bridge}="${lower}"`,
            ...ownVariables(bridge, host),
          ]
    const lines = [...own, `rc_net_${bridge}_need="net.${port}"`].map(
      (line): Setting => ({ kind: 'line', path, line, reason }),
    )
    const moved = text.split('\n').flatMap((from): Setting[] => {
      const to = from.replace(movedVariable(port), `$1_${bridge}=`)
      return to === from || vlan !== undefined ? [] : [{ kind: 'replaced-lines', path, from, to, reason }]
    })
    return { settings: [...moved, ...lines, ...runlevelSettings(files, name)] }
  },
}

/** Returns the variables of a bridge in a VLAN. Throws a UserError: a value of ours is one line, with one of each family. */
function ownVariables(bridge: string, own: OwnAddresses | null): string[] {
  if (own === null) return [`config_${bridge}="null"`]
  const [address, ...more] = own.addresses
  if (more.length > 0)
    throw unmovable(`--address ${more.join(' ')}: only one is written here for netifrc; add others to ${NET} by hand`)
  const routes = own.gateways.map((one) => `routes_${bridge}="default via ${one}"`)
  return [
    `config_${bridge}="${address}"`,
    ...routes,
    ...(own.dns.length === 0 ? [] : [`dns_servers_${bridge}="${own.dns.join(' ')}"`]),
  ]
}

/** Returns settings for the interface's service, a link, and its place in a runlevel, unless they are there already. */
function runlevelSettings(files: Reader, name: string): Setting[] {
  const external = (tool: ExternalToolName, place: string): Setting[] =>
    files.exists(`${place}/net.${name}`)
      ? []
      : [{ kind: 'external', tool, path: '', token: `net.${name}`, reason: `${name} is set up at boot` }]
  return [...external('init-links', INIT_FOLDER), ...external('runlevel', DEFAULT_RUNLEVEL)]
}

/** Returns the interface's name as part of a variable: characters that no variable may have become `_`. */
function variableSuffix(port: string): string {
  return port.replace(/\W/g, '_')
}

/** The variables about the host's addresses, and those about the card. */
const MOVED =
  'config|routes|rules6?|fallback(?:_routes|_route)?|dns_\\w+|dhcpcd?|dhclient(?:v6)?|udhcpc|domain|metric|ipv6\\w*'
const CARDS = 'mtu|mac|txqueuelen|carrier_timeout|dad_timeout|ifdown|vlans|vlan_\\w+|ethtool_\\w+|rc_net'

function movedVariable(port: string): RegExp {
  return new RegExp(`^(\\s*(?:${MOVED}))_${variableSuffix(port)}=`)
}

/** Throws a UserError, code `unknown-system`, for a line that names the card and is not known. */
function expectMovable(text: string, request: BridgeRequest): void {
  const { name, port, vlan } = request
  const own = new RegExp(`^\\s*(\\w+)_${variableSuffix(name)}=`, 'm').exec(text)?.[1]
  if (own !== undefined && own !== 'bridge_add')
    throw unmovable(`${NET}: has ${own}_${variableSuffix(name)} already; choose another name`)
  const named = new RegExp(`(?<![\\w-])${port.replaceAll('.', '\\.')}(?![\\w.-])`)
  const variable = new RegExp(`^\\s*(\\w+)_${variableSuffix(port)}=(.*)`)
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue
    const [, key, value = ''] = variable.exec(line) ?? []
    const known = key === undefined || new RegExp(`^(${MOVED}|${CARDS})$`).test(key)
    if (/^\s*(slaves|bridge)_\w+=/.test(line) && named.test(line))
      throw unmovable(`${NET}: "${line.trim()}": ${port} is a part of it already`)
    if (vlan === undefined && (!known || named.test(key === undefined ? line : value)))
      throw unknownLine(NET, line, request)
  }
}
