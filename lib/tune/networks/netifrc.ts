import type { Setting } from '../../change/settings.ts'
import type { Reader } from '../../host/reader.ts'
import { DEFAULT_RUNLEVEL, type ExternalToolName, INIT_FOLDER } from '../../system/external-tools.ts'
import { type BridgeRequest, bridgeReason, type NetworkConfig, tapReason, unmovable } from './network-config.ts'

const NET = '/etc/conf.d/net'

/** Gentoo's netifrc: variables of /etc/conf.d/net, whose names end in the interface's. Source: net.example of netifrc. */
export const netifrc: NetworkConfig = {
  name: 'netifrc',
  documentation: 'https://wiki.gentoo.org/wiki/Netifrc',

  cardProof(files, port) {
    const text = files.bytes(NET)?.toString('latin1') ?? ''
    return hasConfigVariable(text, port) ? netifrc.activeProof(files) : undefined
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

  settings(files, request) {
    const { name, port, mac, vlan } = request
    const path = files.resolve(NET) ?? NET
    const reason = bridgeReason(request)
    const text = files.bytes(NET)?.toString('latin1') ?? ''
    expectMovable(text, request)
    const lower = vlan === undefined ? port : `${port}.${vlan}`
    const own = [
      ...(vlan === undefined
        ? // Else systemd's 99-default.link gives the bridge an address of its own.
          [
            `config_${variableSuffix(port)}="null"`,
            ...(mac === undefined ? [] : [`mac_${variableSuffix(name)}="${mac}"`]),
          ]
        : [`vlans_${variableSuffix(port)}="${vlan}"`, `config_${variableSuffix(lower)}="null"`]),
      `bridge_${variableSuffix(name)}="${lower}"`,
      ...(vlan === undefined ? [] : [`config_${variableSuffix(name)}="null"`]),
      `rc_net_${variableSuffix(name)}_need="net.${port}"`,
    ]
    const lines = own.map((line): Setting => ({ kind: 'line', path, line, reason }))
    const started = runlevelSettings(files, name)
    if (vlan !== undefined) return [...lines, ...started]
    const moved = text.split('\n').flatMap((from): Setting[] => {
      const to = from.replace(movedVariable(port), `$1_${variableSuffix(name)}=`)
      return to === from ? [] : [{ kind: 'replaced-lines', path, from, to, reason }]
    })
    return [...moved, ...lines, ...started]
  },
}

/** Each interface is a service of its own: a link, and its place in a runlevel, where they are not there already. */
function runlevelSettings(files: Reader, name: string): Setting[] {
  const external = (tool: ExternalToolName, place: string): Setting[] =>
    files.exists(`${place}/net.${name}`)
      ? []
      : [{ kind: 'external', tool, path: '', token: `net.${name}`, reason: `${name} is set up at boot` }]
  return [...external('init-links', INIT_FOLDER), ...external('runlevel', DEFAULT_RUNLEVEL)]
}

function hasConfigVariable(text: string, port: string): boolean {
  return new RegExp(`^\\s*config_${variableSuffix(port)}=`, 'm').test(text)
}

/** What is no variable's letter is `_` in it. */
function variableSuffix(port: string): string {
  return port.replace(/\W/g, '_')
}

/** What says where the host is, and what says how the card works. */
const MOVED =
  'config|routes|rules6?|fallback(?:_routes|_route)?|dns_\\w+|dhcpcd?|dhclient(?:v6)?|udhcpc|domain|metric|ipv6\\w*'
const CARDS = 'mtu|mac|txqueuelen|carrier_timeout|dad_timeout|ifdown|vlans|vlan_\\w+|ethtool_\\w+|rc_net'

function movedVariable(port: string): RegExp {
  return new RegExp(`^(\\s*(?:${MOVED}))_${variableSuffix(port)}=`)
}

/** Throws a UserError, code `unknown-system`, for a line that names the card and is not known. */
function expectMovable(text: string, { name, port, vlan }: BridgeRequest): void {
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
      throw unmovable(
        `${NET}: "${line.trim()}" is not known to go with ${name} or with ${port}; a bridge is made by hand here`,
      )
  }
}
