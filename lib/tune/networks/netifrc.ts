import type { Setting } from '../../plan/setting.ts'
import { type NetworkConfig, reasonFor } from './network.ts'

const NET = '/etc/conf.d/net'

/** Gentoo's netifrc: variables of /etc/conf.d/net, whose names end in the interface's. Source: net.example of netifrc. */
export const netifrc: NetworkConfig = {
  name: 'netifrc',
  documentation: 'https://wiki.gentoo.org/wiki/Netifrc',

  evidence(files, port) {
    const text = files.optionalBytes(NET)?.toString('latin1')
    return text !== undefined && files.exists('/etc/init.d/net.lo') && setsUp(text, port) ? NET : undefined
  },

  left: ({ name }) =>
    `Then: ln -s net.lo /etc/init.d/net.${name} && rc-update add net.${name} default (after an undo: rc-update del net.${name}).`,

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
    if (vlan !== undefined) return lines
    const text = files.optionalBytes(NET)?.toString('latin1') ?? ''
    const moved = text.split('\n').flatMap((from): Setting[] => {
      const to = from.replace(variableOf(port), `$1_${nameOf(name)}=`)
      return to === from ? [] : [{ kind: 'replace', path, from, to, reason }]
    })
    return [...moved, ...lines]
  },
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
