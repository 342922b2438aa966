import type { Setting } from '../../change/settings.ts'
import { globPattern } from '../../core/glob.ts'
import type { Reader } from '../../host/reader.ts'
import { INTERFACES_FILE, type InterfacesLine, isIncluded, readInterfaces, type Stanza } from './ifupdown-files.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type NetworkConfig,
  ownFile,
  tapReason,
  unknownLine,
  unmovable,
} from './network-config.ts'
import { isSix, type OwnAddresses, ofFamily } from './own-addresses.ts'

const FOLDER = '/etc/network/interfaces.d'
/** The options about a master, another layer below, or the card's own hardware. */
const LAYERS =
  /^(bond|bridge|vlan|wpa|wireless|link|ethernet|hardware|offload|lacp|ovs|batman|openvpn)[-_]|^(slaves|master)$/
const COMMANDS = /^(pre-up|up|post-up|pre-down|down|post-down)$/
/** The commands about addresses and routes, and those about the card. */
const ROUTES = /^(\S*\/)?(ip(\s+-\S+)*\s+(r|ro|route|a|addr|address|ru|rule|n|neigh)\s|route\s)/
const HARDWARE = /^(\S*\/)?(ethtool\s|ip(\s+-\S+)*\s+(l|link)\s+set\s)/

/** Debian's ifup and ifdown, with stanzas in /etc/network/interfaces. ip makes the bridge, as it is always there. */
export const ifupdown: NetworkConfig = {
  name: 'ifupdown',
  documentation: 'https://manpages.debian.org/bookworm/ifupdown/interfaces.5.en.html',

  cardProof(files, port) {
    if (ifupdown.activeProof(files) === undefined) return undefined
    // A stanza that only names the card counts, too: `bridge` looks at it, and refuses.
    return readInterfaces(files).find((one) => isOfPort(one, port) || conflictIn(one, port) !== undefined)?.head.path
  },

  activeProof: (files) =>
    ['/sbin/ifup', '/usr/sbin/ifup'].some((path) => files.exists(path)) && files.exists(INTERFACES_FILE)
      ? INTERFACES_FILE
      : undefined,

  tap(files, { name, user, bridge }) {
    const lines = [
      `auto ${name}`,
      `iface ${name} inet manual`,
      `    pre-up ip tuntap add dev ${name} mode tap user ${user}`,
      // As a rule, the folder is read before the bridge's own lines. The first line is for ifupdown-ng.
      ...(bridge === undefined
        ? []
        : [
            `    requires ${bridge}`,
            `    pre-up ip link show dev ${bridge} >/dev/null 2>&1 || ifup ${bridge}`,
            `    pre-up ip link set dev ${name} master ${bridge}`,
          ]),
      `    up ip link set dev ${name} up`,
      `    post-down ip tuntap del dev ${name} mode tap`,
    ]
    const path = `${FOLDER}/vfio-scripts-${name.replace(/\W/g, '_')}`
    expectIncluded(files, path)
    return [ownFile(files, path, lines.join('\n'), tapReason(name, user))]
  },

  bridge(files, request) {
    const { name, port, vlan, own, lower } = request
    const reason = bridgeReason(request)
    const stanzas = readInterfaces(files)
    const bound = stanzas.find(({ head }) => head.words[0] === 'iface' && head.words[1] === name)
    if (bound !== undefined)
      throw unmovable(`${bound.head.path}: has an interface ${name} already; choose another name`)
    for (const stanza of stanzas) {
      const why = conflictIn(stanza, port)
      if (why !== undefined) throw unmovable(`${stanza.head.path}: ${why}; a bridge with ${port} is made by hand here`)
    }
    if (vlan !== undefined) {
      const path = `${FOLDER}/vfio-scripts`
      expectIncluded(files, path)
      const made = [
        ...portLines({ ...request, port: lower }, [
          `    pre-up ip link add link ${port} name ${lower} type vlan id ${vlan}`,
        ]),
        `    post-down ip link del ${lower}`,
      ]
      const text = ownStanzas(name, own, made).join('\n')
      const notes =
        (own?.dns ?? []).length > 0 ? ['ifupdown hands DNS servers to resolvconf, where that is installed.'] : []
      return { settings: [ownFile(files, path, `auto ${name}\n${text}\n`, reason)], notes }
    }
    const auto = stanzas.some(({ head }) => /^(auto|allow-)/.test(head.words[0] ?? '') && head.words.includes(port))
    const first = stanzas.find((one) => isOfPort(one, port))
    const settings = stanzas.flatMap((stanza): Setting[] => {
      const { path } = stanza.head
      const start = { made: stanza === first, auto: stanza === first && !auto }
      const lines = isOfPort(stanza, port)
        ? movedStanza(stanza, request, start, stanzas)
        : renamedLines(stanza.head, port, name)
      const changed = lines.map(({ from, to }) => from !== to)
      if (!changed.includes(true)) return []
      const upTo = lines.slice(0, changed.lastIndexOf(true) + 1)
      const [from, to] = [upTo.map((one) => one.from).join('\n'), upTo.map((one) => one.to).join('\n')]
      return [{ kind: 'replaced-lines', path: files.resolve(path) ?? path, from, to, reason }]
    })
    return { settings }
  },
}

/** Returns the stanzas of a bridge in a VLAN: the first one makes it, and each has an address of the host's. */
function ownStanzas(name: string, own: OwnAddresses | null, made: readonly string[]): string[] {
  if (own === null) return [`iface ${name} inet manual`, ...made]
  // A stanza of inet6 has an option for it.
  const plain = ofFamily(own.addresses, true).length === 0
  const deaf = plain ? [`    pre-up echo 0 >/proc/sys/net/ipv6/conf/${name}/accept_ra || true`] : []
  return own.addresses.flatMap((address, index) => {
    const six = isSix(address)
    const first = ofFamily(own.addresses, six)[0] === address
    return [
      `iface ${name} inet${six ? '6' : ''} static`,
      ...(index === 0 ? [...made, ...deaf] : []),
      `    address ${address}`,
      ...(six && first ? ['    accept_ra 0'] : []),
      ...(first ? ofFamily(own.gateways, six).map((one) => `    gateway ${one}`) : []),
      ...(index === 0 && own.dns.length > 0 ? [`    dns-nameservers ${own.dns.join(' ')}`] : []),
    ]
  })
}

interface LineEdit {
  from: string
  to: string
}

function isOfPort({ head: { words } }: Stanza, port: string): boolean {
  return words[0] === 'iface' && isCard(words[1] ?? '', port)
}

/** Is it the card, or an alias of it (`eth0:1`)? */
function isCard(name: string, port: string): boolean {
  return name === port || name.startsWith(`${port}:`)
}

/** Returns why a stanza of another interface stands in the way; `undefined` if it does not. */
function conflictIn({ head, options }: Stanza, port: string): string | undefined {
  const [start = '', what = ''] = head.words
  if (start === 'mapping' && head.words.slice(1).some((one) => globPattern(one.replace(/^\//, '')).test(port)))
    return `a mapping decides what ${port} is`
  if (start === 'rename' && namesPort(head.text, port)) return `a line renames an interface to ${port}`
  if (start !== 'iface' || isCard(what, port)) return undefined
  if (head.words.slice(4).includes(port)) return `${what} inherits from ${port}`
  for (const { words, text } of options) {
    const [key = '', ...values] = words
    const ports = /^bridge[-_]ports$/.test(key)
    if (ports && (values.includes('all') || values.includes('regex'))) return `${what} takes every card as its port`
    // A card below a VLAN can still be a port.
    if (/^vlan[-_]raw[-_]device$/.test(key) || !namesPort(text, port) || words.length === 0) continue
    if (ports) return `${port} is a port of ${what} already`
    if (/^(bond[-_](slaves|primary)|slaves)$/.test(key)) return `${port} is a member of ${what}`
    return `${what} has a line that names ${port} (${text.trim()})`
  }
  return undefined
}

/** Does the text name the interface: for `eth0`, `conf/eth0/forwarding` or `conf.eth0.forwarding`, but not `eth0.5`? */
function namesPort(text: string, port: string): boolean {
  return portPattern(port).test(text)
}

function portPattern(port: string): RegExp {
  return new RegExp(`(?<![\\w-])${port.replaceAll('.', '\\.')}(?![\\w-]|[.:]\\d)`, 'g')
}

/** Renames the card in lines that list interfaces. No event announces a bridge, so `allow-hotplug` becomes `auto`. */
function renamedLines(head: InterfacesLine, port: string, name: string): LineEdit[] {
  const [start = ''] = head.words
  const { text } = head
  if (!/^(auto|allow-\S+|no-auto-down|no-scripts)$/.test(start)) return []
  const isOwn = (one: string): boolean => isCard(one, port)
  if (!head.words.some(isOwn)) return []
  const to = text.replace(/[^\s\\]+/g, (one) => (isOwn(one) ? name + one.slice(port.length) : one))
  if (start !== 'allow-hotplug') return [{ from: text, to }]
  const own = head.words.filter(isOwn).map((one) => name + one.slice(port.length))
  const others = head.words.slice(1).filter((one) => !isOwn(one))
  const lines = [`auto ${own.join(' ')}`, ...(others.length > 0 ? [`${start} ${others.join(' ')}`] : [])]
  return [{ from: text, to: lines.join('\n') }]
}

/**
 * Turns a stanza of the card into one of the bridge. `made`: the bridge is made here; `auto`: no line starts it yet.
 */
function movedStanza(
  { head, options }: Stanza,
  request: BridgeRequest,
  { made, auto }: { made: boolean; auto: boolean },
  all: readonly Stanza[],
): LineEdit[] {
  const { name, port } = request
  const header = head.text.replace(/^(\s*iface[\s\\]+)([^\s:]+)/, `$1${name}`)
  const mtu = all
    .filter((one) => isOfPort(one, port))
    .flatMap((one) => one.options)
    .find(({ words }) => words[0] === 'mtu')?.words[1]
  const own = made ? portLines(request, mtu === undefined ? [] : [`    pre-up ip link set ${port} mtu ${mtu}`]) : []
  const [, , family, method] = head.words
  const duid = method === 'dhcp' ? [duidLine(request, family === 'inet6' ? 'dhclient6' : 'dhclient')] : []
  return [
    { from: head.text, to: [...(auto ? [`auto ${name}`] : []), header, ...own, ...duid].join('\n') },
    ...options.map((line) => ({ from: line.text, to: movedOption(line, request) })),
  ]
}

/** Returns an option for the bridge. Throws a UserError, `unknown-system`, if it may be the bridge's or the card's. */
function movedOption({ path, text, words }: InterfacesLine, request: BridgeRequest): string {
  const { name, port } = request
  const [key = ''] = words
  if (LAYERS.test(key)) throw unknownLine(path, text, request)
  if (words.length === 0 || !(namesPort(text, port) || /\$\{?IFACE\b/.test(text))) return text
  const command = words.slice(1).join(' ')
  // Several commands in a line may be about both.
  if (!COMMANDS.test(key) || /[;&|`]|\$\(/.test(command.replace(/\s*\|\| *(true|:)$/, '')))
    throw unknownLine(path, text, request)
  if (ROUTES.test(command)) return text.replace(portPattern(port), name)
  if (HARDWARE.test(command)) return text.replace(/\$IFACE\b|\$\{IFACE\}|\$\{IFACE:?-\w*\}/g, port)
  throw unknownLine(path, text, request)
}

/**
 * Returns the lines that make the bridge. Without a MAC address, systemd's 99-default.link would give it another, and
 * no server would know the host.
 */
function portLines({ name, port, mac, vlan }: BridgeRequest, before: readonly string[] = []): string[] {
  const address = vlan === undefined ? `address ${mac ?? `$(cat /sys/class/net/${port}/address)`} ` : ''
  return [
    `    pre-up [ -d /sys/class/net/${name} ] || ip link add name ${name} ${address}type bridge`,
    ...before,
    `    pre-up ip link set ${port} master ${name}`,
    `    pre-up ip link set ${port} up`,
    `    post-down ip link del ${name}`,
  ]
}

/** Returns the line that copies the DUID, which dhclient keeps with the leases of each interface. */
function duidLine({ name, port }: BridgeRequest, program: string): string {
  const leases = (one: string): string => `/var/lib/dhcp/${program}.${one}.leases`
  return `    pre-up [ -s ${leases(name)} ] || grep -s ^default-duid ${leases(port)} >${leases(name)} || true`
}

/** Throws a UserError, code `unknown-system`, where a file of our own in the folder would not be read. */
function expectIncluded(files: Reader, path: string): void {
  if (!isIncluded(files, path))
    throw unmovable(`${INTERFACES_FILE}: does not read ${path}; add a line first: source-directory ${FOLDER}`)
}
