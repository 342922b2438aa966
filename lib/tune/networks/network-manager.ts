import { createHash } from 'node:crypto'
import type { Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import { accountText } from '../../host/accounts.ts'
import { iaidOfName } from '../../host/network-card.ts'
import type { Reader } from '../../host/reader.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type IniSections,
  lastValue,
  type NetworkConfig,
  ownFile,
  sectionText,
  tapReason,
  unmovable,
} from './network-config.ts'
import { type OwnAddresses, ofFamily } from './own-addresses.ts'
import { findBootProfile, isManaged, PROFILES, type Profile, profileNamed } from './profiles.ts'

const NO_ADDRESS = '[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=disabled\n'
/** The sections about the host's network, and not about the card. */
const BRIDGES = /^(ipv4|ipv6|proxy|hostname)$/
/** The lines of [connection] that go to the bridge. */
const OWN = /^(zone|metered|mdns|llmnr|dns-over-tls|secondaries|gateway-ping-timeout|wait-device-timeout)\s*=/
const CARDS_OWN = /^lldp\s*=/
/** The sections that each profile has of its own. */
const NEW = /^(connection|user|match|bridge-port)$/

/**
 * NetworkManager, with profiles of our own: one for the bridge, with the addresses of the card's profile, and one for
 * the card as its port, which goes before any other. Source: nm-settings-keyfile(5), NetworkManager.conf(5).
 */
export const networkManager: NetworkConfig = {
  name: 'NetworkManager',
  documentation: 'https://networkmanager.dev/docs/api/latest/nm-settings-keyfile.html',

  cardProof(files, port, mac) {
    const runs = networkManager.activeProof(files)
    return runs !== undefined && isManaged(files, { name: port, mac, active: undefined }) ? runs : undefined
  },

  activeProof(files) {
    return [
      '/etc/systemd/system/multi-user.target.wants/NetworkManager.service',
      '/etc/systemd/system/dbus-org.freedesktop.NetworkManager.service',
      '/etc/runlevels/default/NetworkManager',
    ].find((path) => files.exists(path))
  },

  tap(files, { name, user, bridge }) {
    const uid = new RegExp(`^${user}:[^:]*:(\\d+):`, 'm').exec(accountText(files, 'passwd') ?? '')?.[1]
    if (uid === undefined)
      throw new UserError('no-user', `--user ${user}: NetworkManager takes a number, and /etc/passwd has no such user`)
    const id = `vfio-scripts-${name}`
    // A port has no settings about addresses.
    const [port, rest] = bridge === undefined ? ['', `\n${NO_ADDRESS}`] : [bridgePortLines(bridge), '']
    const text = `${connectionSection(id, 'tun', name, port)}\n[tun]\nmode=2\nowner=${uid}\n${rest}`
    return [profileSetting(files, id, text, tapReason(name, user))]
  },

  bridge(files, request) {
    const { name, port, mac, vlan, own: host, lower } = request
    const own = (id: string, text: string): Setting => profileSetting(files, id, text, bridgeReason(request))
    const bound = profileNamed(files, name)
    if (bound !== undefined) throw unmovable(`${bound}: is for an interface ${name} already; choose another name`)
    const [bridge, member] = [`vfio-scripts-${name}`, `vfio-scripts-${name}-port`]
    if (vlan !== undefined) {
      const start = connectionSection(member, 'vlan', lower, bridgePortLines(name))
      return {
        settings: [
          own(
            bridge,
            `${connectionSection(bridge, 'bridge', name)}\n[bridge]\nstp=false\n${host === null ? `\n${NO_ADDRESS}` : ownSections(host)}`,
          ),
          own(member, `${start}\n[vlan]\nid=${vlan}\nparent=${port}\n`),
        ],
      }
    }
    const profile = findMovableProfile(files, request)
    const sections = profile?.sections ?? []
    const address = mac === undefined ? '' : `mac-address=${mac}\n`
    const lines = (pattern: RegExp): string =>
      sectionLines(sections, 'connection')
        .filter((line) => pattern.test(line))
        .map((line) => `${line}\n`)
        .join('')
    const rest = sections.filter((one) => BRIDGES.test(one.name) && !/^ipv[46]$/.test(one.name))
    const cards = sections.filter((one) => !BRIDGES.test(one.name) && !NEW.test(one.name))
    const texts = (some: IniSections): string => some.map((one) => sectionText(one.name, one.lines)).join('')
    const start = connectionSection(bridge, 'bridge', name, lines(OWN))
    const addresses = addressSections(sections, port)
    return {
      settings: [
        own(bridge, `${start}\n[bridge]\n${address}stp=false\n${addresses}${texts(rest)}`),
        own(
          member,
          `${connectionSection(member, 'ethernet', port, lines(CARDS_OWN) + bridgePortLines(name))}${texts(cards.map(withoutCardAddress))}`,
        ),
      ],
      notes: profileNotes(profile, request),
    }
  },
}

/** Returns the sections of a bridge in a VLAN, with what the host itself has there. */
function ownSections({ addresses, gateways, dns }: OwnAddresses): string {
  return [false, true]
    .map((six) => {
      const own = ofFamily(addresses, six)
      const servers = ofFamily(dns, six)
      return sectionText(six ? 'ipv6' : 'ipv4', [
        `method=${own.length > 0 ? 'manual' : 'disabled'}`,
        ...own.map((one, index) => `address${index + 1}=${one}`),
        ...ofFamily(gateways, six).map((one) => `gateway=${one}`),
        ...(servers.length > 0 ? [`dns=${servers.map((one) => `${one};`).join('')}`] : []),
      ])
    })
    .join('')
}

/** Returns notes about addresses that are made from the names of profile and interface. */
function profileNotes(profile: Profile | undefined, { name, port }: BridgeRequest): string[] {
  const sections = profile?.sections ?? []
  // NetworkManager's automatic profile has `default`; a keyfile without the key means the card's address.
  const mode = profile === undefined ? 'default' : lastValue(sections, 'ipv6', 'addr-gen-mode')
  const made = /^(1|3|stable-privacy|default)$/.test(mode) && lastValue(sections, 'ipv6', 'method') !== 'manual'
  const known = ['ipv4', 'ipv6'].some((one) =>
    ['dhcp-client-id', 'dhcp-duid'].some((key) => lastValue(sections, one, key).startsWith('stable')),
  )
  return [
    ...(made
      ? [`IPv6: ${name} gets another address than ${port} has: it is made from the names of profile and interface.`]
      : []),
    ...(known
      ? [`DHCP: ${name} may get another address than ${port} has: its client ID is made from the profile's name.`]
      : []),
  ]
}

/** Finds the card's profile. Throws a UserError, code `unknown-system`, for one that a bridge cannot take over. */
function findMovableProfile(files: Reader, { port, mac, active }: BridgeRequest): Profile | undefined {
  const found = findBootProfile(files, { name: port, mac, active })
  if (found === undefined) return undefined
  const { path, sections } = found
  const master = lastValue(sections, 'connection', 'master') || lastValue(sections, 'connection', 'controller')
  if (master !== '') throw unmovable(`${path}: ${port} is a port of ${master} already`)
  if (sections.some((one) => one.name === '802-1x'))
    throw unmovable(`${path}: ${port} has to log in to its switch (802.1X), which the port of a bridge does not`)
  for (const section of ['ethernet', '802-3-ethernet'])
    for (const key of ['cloned-mac-address', 'assigned-mac-address'])
      if (!/^(|preserve|permanent)$/.test(lastValue(sections, section, key)))
        throw unmovable(`${path}: gives ${port} another address (${key}), which the bridge would not have; take it out`)
  return found
}

function sectionLines(sections: IniSections, name: string): string[] {
  return sections.filter((one) => one.name === name).flatMap(({ lines }) => lines)
}

/** Returns the sections about addresses, with the DHCP client's IAID, which else is made from the interface's name. */
function addressSections(sections: IniSections, port: string): string {
  return ['ipv4', 'ipv6']
    .map((name) => {
      const lines = sectionLines(sections, name)
      const whole = lines.some((line) => /^method\s*=/.test(line)) ? lines : ['method=auto', ...lines]
      const asks = whole.some((line) => /^method\s*=\s*(auto|dhcp)$/.test(line))
      const reported = whole.some((line) => /^dhcp-iaid\s*=/.test(line))
      return sectionText(name, asks && !reported ? [...whole, `dhcp-iaid=${iaidOfName(port)}`] : whole)
    })
    .join('')
}

/** Returns the section without the lines that say which card it is for. */
function withoutCardAddress({ name, lines }: IniSections[number]): IniSections[number] {
  return { name, lines: lines.filter((line) => !/^((cloned-|assigned-)?mac-address(-\w+)?)\s*=/.test(line)) }
}

function profileSetting(files: Reader, id: string, text: string, reason: string): Setting {
  return ownFile(files, `${PROFILES}/${id}.nmconnection`, text, reason, 0o600)
}

function connectionSection(id: string, type: string, device: string, more = ''): string {
  return `[connection]\nid=${id}\nuuid=${uuidOf(id)}\ntype=${type}\ninterface-name=${device}\nautoconnect-priority=999\n${more}`
}

function bridgePortLines(bridge: string): string {
  return `master=${bridge}\nslave-type=bridge\n`
}

/** Returns a UUID made from the name, so that a second run writes the same file. */
function uuidOf(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
