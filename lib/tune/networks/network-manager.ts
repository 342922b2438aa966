import { createHash } from 'node:crypto'
import { UserError } from '../../cli/error.ts'
import { accountText } from '../../host/accounts.ts'
import type { Reader } from '../../host/reader.ts'
import { ownHead, type Setting } from '../../plan/setting.ts'
import { type NetworkConfig, ownFile, reasonFor, sectionsOf, tapReason, valuesOf } from './network.ts'

const FOLDER = '/etc/NetworkManager/system-connections'
const NO_ADDRESS = '[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=disabled\n'

/**
 * NetworkManager: profiles of our own, for the bridge with what the card's profile says of addresses, and for the card
 * as its port, which goes before any other. Source: nm-settings-keyfile(5), NetworkManager.conf(5).
 */
export const networkManager: NetworkConfig = {
  name: 'NetworkManager',
  documentation: 'https://networkmanager.dev/docs/api/latest/nm-settings-keyfile.html',

  evidence: (files) => networkManager.runs(files),

  runs(files) {
    const units = ['multi-user.target.wants/NetworkManager.service', 'dbus-org.freedesktop.NetworkManager.service']
    const found = units.map((name) => `/etc/systemd/system/${name}`).find((path) => files.exists(path))
    return (
      found ??
      (files.exists('/etc/runlevels/default/NetworkManager') ? '/etc/runlevels/default/NetworkManager' : undefined)
    )
  },

  tap(files, { name, user, bridge }) {
    const uid = new RegExp(`^${user}:[^:]*:(\\d+):`, 'm').exec(accountText(files, 'passwd') ?? '')?.[1]
    if (uid === undefined)
      throw new UserError('no-user', `--user ${user}: NetworkManager takes a number, and /etc/passwd has no such user`)
    const id = `vfio-scripts-${name}`
    // A port says nothing of addresses.
    const [port, rest] = bridge === undefined ? ['', `\n${NO_ADDRESS}`] : [portOf(bridge), '']
    const text = `${connection(id, 'tun', name, port)}\n[tun]\nmode=2\nowner=${uid}\n${rest}`
    return [profile(files, id, text, tapReason(name, user))]
  },

  settings(files, request) {
    const { name, port, mac, vlan } = request
    const reason = reasonFor(request)
    const own = (id: string, text: string): Setting => profile(files, id, text, reason)
    const [bridge, member] = [`vfio-scripts-${name}`, `vfio-scripts-${name}-port`]
    const port_ = portOf(name)
    if (vlan !== undefined) {
      const lower = `${port}.${vlan}`
      return [
        own(bridge, `${connection(bridge, 'bridge', name)}\n[bridge]\nstp=false\n\n${NO_ADDRESS}`),
        own(member, `${connection(member, 'vlan', lower, port_)}\n[vlan]\nid=${vlan}\nparent=${port}\n`),
      ]
    }
    const present = profileOf(files, port, mac)
    const part = (section: string): string => {
      const lines = present?.find((one) => one.name === section)?.lines ?? ['method=auto']
      return `\n[${section}]\n${lines.map((line) => `${line}\n`).join('')}`
    }
    const address = mac === undefined ? '' : `mac-address=${mac}\n`
    return [
      own(
        bridge,
        `${connection(bridge, 'bridge', name)}\n[bridge]\n${address}stp=false\n${part('ipv4')}${part('ipv6')}`,
      ),
      own(member, `${connection(member, 'ethernet', port, port_)}`),
    ]
  },
}

function profile(files: Reader, id: string, text: string, reason: string): Setting {
  return ownFile(files, `${FOLDER}/${id}.nmconnection`, ownHead('tune-host'), text, reason, 0o600)
}

function connection(id: string, type: string, device: string, more = ''): string {
  return `[connection]\nid=${id}\nuuid=${uuidOf(id)}\ntype=${type}\ninterface-name=${device}\nautoconnect-priority=999\n${more}`
}

function portOf(bridge: string): string {
  return `master=${bridge}\nslave-type=bridge\n`
}

/** The profile that the card has: by its name, by its address, or the only one for any card. */
function profileOf(files: Reader, port: string, mac: string | undefined): ReturnType<typeof sectionsOf> | undefined {
  const all = (files.list(FOLDER) ?? [])
    .filter((name) => name.endsWith('.nmconnection') && !name.startsWith('vfio-scripts-'))
    .map((name) => sectionsOf(files.bytes(`${FOLDER}/${name}`)?.toString('latin1') ?? ''))
    .filter((one) => /^(ethernet|802-3-ethernet)$/.test(valuesOf(one, 'connection', 'type')[0] ?? ''))
  const named = (one: (typeof all)[number]): string | undefined => valuesOf(one, 'connection', 'interface-name')[0]
  const addressed = (one: (typeof all)[number]): string | undefined =>
    valuesOf(one, 'ethernet', 'mac-address')[0]?.toLowerCase()
  const any = all.filter((one) => named(one) === undefined && addressed(one) === undefined)
  return (
    all.find((one) => named(one) === port) ??
    all.find((one) => mac !== undefined && addressed(one) === mac) ??
    (any.length === 1 ? any[0] : undefined)
  )
}

/** The same for the same name, so that a second run writes the same file. */
function uuidOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
