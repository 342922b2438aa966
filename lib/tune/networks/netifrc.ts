import type { Reader } from '../../host/reader.ts'
import type { Setting } from '../../plan/setting.ts'
import { DEFAULT, INIT, LINKS, RUNLEVEL } from '../services.ts'
import { type NetworkConfig, reasonFor, tapReason } from './network.ts'

const NET = '/etc/conf.d/net'

/** Gentoo's netifrc: variables of /etc/conf.d/net, whose names end in the interface's. Source: net.example of netifrc. */
export const netifrc: NetworkConfig = {
  name: 'netifrc',
  documentation: 'https://wiki.gentoo.org/wiki/Netifrc',

  evidence(files, port) {
    const text = files.bytes(NET)?.toString('latin1') ?? ''
    return setsUp(text, port) ? netifrc.runs(files) : undefined
  },

  runs: (files) => (files.exists(NET) && files.exists('/etc/init.d/net.lo') ? NET : undefined),

  tap(files, { name, user, bridge }) {
    const path = files.resolve(NET) ?? NET
    const reason = tapReason(name, user)
    const variable = nameOf(name)
    const lines = [
      `tuntap_${variable}="tap"`,
      `iproute2_${variable}="user ${user}"`,
      `config_${variable}="null"`,
      ...(bridge === undefined
        ? []
        : [`bridge_add_${variable}="${bridge}"`, `rc_net_${variable}_need="net.${bridge}"`]),
    ]
    return [...lines.map((line): Setting => ({ kind: 'line', path, line, reason })), ...starts(files, name)]
  },

  settings(files, request) {
    const { name, port, vlan } = request
    const path = files.resolve(NET) ?? NET
    const reason = reasonFor(request)
    const lower = vlan === undefined ? port : `${port}.${vlan}`
    const own = [
      ...(vlan === undefined
        ? [`config_${nameOf(port)}="null"`]
        : [`vlans_${nameOf(port)}="${vlan}"`, `config_${nameOf(lower)}="null"`]),
      `bridge_${nameOf(name)}="${lower}"`,
      ...(vlan === undefined ? [] : [`config_${nameOf(name)}="null"`]),
      `rc_net_${nameOf(name)}_need="net.${port}"`,
    ]
    const lines = own.map((line): Setting => ({ kind: 'line', path, line, reason }))
    const started = starts(files, name)
    if (vlan !== undefined) return [...lines, ...started]
    const text = files.bytes(NET)?.toString('latin1') ?? ''
    const moved = text.split('\n').flatMap((from): Setting[] => {
      const to = from.replace(variableOf(port), `$1_${nameOf(name)}=`)
      return to === from ? [] : [{ kind: 'replace', path, from, to, reason }]
    })
    return [...moved, ...lines, ...started]
  },
}

/** Each interface is a service of its own: a link, and its place in a runlevel, where they are not there already. */
function starts(files: Reader, name: string): Setting[] {
  const kept = (by: string, place: string): Setting[] =>
    files.exists(`${place}/net.${name}`)
      ? []
      : [{ kind: 'kept', by, path: '', token: `net.${name}`, reason: `${name} is set up at boot` }]
  return [...kept(LINKS, INIT), ...kept(RUNLEVEL, DEFAULT)]
}

function setsUp(text: string, port: string): boolean {
  return new RegExp(`^\\s*config_${nameOf(port)}=`, 'm').test(text)
}

/** What is no variable's letter is `_` in it. */
function nameOf(port: string): string {
  return port.replace(/\W/g, '_')
}

function variableOf(port: string): RegExp {
  return new RegExp(`^(\\s*(?:config|routes|fallback|dns_\\w+|dhcpcd?|udhcpc|domain|metric))_${nameOf(port)}=`)
}
