import { claimsOf } from '../change/journal.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { parseCommandLine } from '../host/kernel.ts'
import { readBridgePort } from '../host/network-card.ts'
import {
  describedHost,
  expectInterfaceName,
  type TuneFacts,
  type TuneRequirements,
  tuneRequirements,
} from './feature.ts'
import { withoutCloudInit } from './networks/cloud-init.ts'
import { ifupdown } from './networks/ifupdown.ts'
import { netifrc } from './networks/netifrc.ts'
import { netplan } from './networks/netplan.ts'
import {
  type BridgeRequest,
  bridgeReason,
  type NetworkConfig,
  type TapRequest,
  tapReason,
} from './networks/network-config.ts'
import { networkManager } from './networks/network-manager.ts'
import { networkd } from './networks/networkd.ts'

const NET = '/sys/class/net'

/** netplan writes for the others; NetworkManager has what nobody else names. */
const BRIDGE_CONFIGS: readonly NetworkConfig[] = [netplan, ifupdown, netifrc, networkd, networkManager]
/** Those that go on with what they were not told of come last. */
const TAP_CONFIGS: readonly NetworkConfig[] = [netplan, networkd, networkManager, ifupdown, netifrc]

/**
 * A bridge for guests, by what sets up this host's network. It comes with the next boot, as a whole: a network that is
 * changed under way may leave nobody to finish. Throws a UserError: `no-interface`, `unknown-system`.
 */
export function requireBridge(
  facts: TuneFacts,
  requested: { name: string; port: string; vlan: string | undefined },
): TuneRequirements {
  const { machine, files } = facts.host
  const { name, port } = requested
  expectInterfaceName('--bridge', name)
  expectInterfaceName('--port', port)
  const vlan = requested.vlan === undefined ? undefined : Number(requested.vlan)
  if (vlan !== undefined && !(Number.isInteger(vlan) && vlan >= 1 && vlan <= 4094))
    throw new UserError('usage', `--vlan ${requested.vlan}: not the number of a VLAN (1 to 4094)`)
  const seen = machine.list(NET)
  if (seen !== undefined && !seen.includes(port))
    throw new UserError(
      'no-interface',
      `--port ${port}: no such network card here; there is ${seen.filter((one) => one !== 'lo').join(', ')}`,
    )
  const { mac, iaid, active } = readBridgePort(machine, port)
  const request: BridgeRequest = { name, port, mac, iaid, active, vlan }
  const present = claimsOf(facts.journal).filter(({ owner }) => owner === 'bridge')
  const asked = { bridge: name, port, ...(vlan === undefined ? {} : { vlan: `${vlan}` }) }
  if (present.some(({ setting }) => JSON.stringify(setting.request) === JSON.stringify(asked)))
    return tuneRequirements('bridge', bridgeReason(request), {
      files: present.map(({ setting }) => setting),
      request: asked,
    })
  if (present.length > 0)
    throw new UserError('contradiction', `${present[0]?.setting.reason}: take that back first (--undo bridge --apply)`)
  if (seen?.includes(name))
    throw new UserError('contradiction', `--bridge ${name}: there is an interface of this name; choose another`)
  const early = findInitramfsNetwork(facts)
  if (early !== undefined)
    throw new UserError(
      'unknown-system',
      `${early}: the initramfs sets the network up, before anything makes a bridge; a bridge is made by hand here`,
    )
  const unnamed =
    mac === undefined && vlan === undefined
      ? [`The address (MAC) of ${port} is not known here: servers and switches that go by it may not know ${name}.`]
      : []
  const described = describedHost(facts)?.bridge(request)
  if (described !== undefined)
    return tuneRequirements('bridge', bridgeReason(request), {
      items: described,
      request: asked,
      findings: [bridgePortFinding(facts, port)],
      notes:
        vlan === undefined
          ? [
              `What your configuration says of ${port} (networking.interfaces) is to be said of ${name}: move it there.`,
              ...unnamed,
            ]
          : [],
      rebootNeeded: true,
    })
  const found = BRIDGE_CONFIGS.map((config) => ({ config, why: config.cardProof(files, port, mac) })).find(
    ({ why }) => why !== undefined,
  )
  if (found === undefined)
    throw manualBridgeError(request, `nothing that is known here sets ${port} up`, [
      `ip link add name ${name} type bridge && ip link set ${port} master ${name}, wherever your system makes its network.`,
    ])
  const moved =
    vlan === undefined
      ? `What ${port} has of addresses, DNS and routes goes to ${name}.`
      : `${port} itself stays as it is.`
  const settings = found.config.settings(files, request)
  const edited =
    vlan === undefined ? (settings.find(({ kind }) => kind === 'replaced-lines')?.path ?? found.why) : undefined
  const external = edited === undefined ? undefined : withoutCloudInit(files, edited, bridgeReason(request))
  return tuneRequirements('bridge', `${name}, with ${port}, by ${found.config.name}`, {
    files: external === undefined ? settings : [...settings, external],
    request: asked,
    findings: [bridgePortFinding(facts, port)],
    notes: [
      `The network is set up by ${found.config.name} (${found.why}). ${moved}`,
      ...(external === undefined
        ? []
        : [`cloud-init wrote ${edited} and would again: it leaves the network alone now.`]),
      // It reads the address when it makes the bridge.
      ...(found.config === ifupdown ? [] : unnamed),
      ...(found.config.notes?.(files, request) ?? []),
      'A remote host: add --confirm-within 10m, so that it comes back by itself if you cannot reach it.',
    ],
    rebootNeeded: true,
  })
}

/**
 * A TAP device that a user may open, made at boot by whoever makes the bridge that it is a port of, or sets up the
 * network. Throws a UserError: `usage`, `unknown-system`.
 */
export function requireTap(facts: TuneFacts, request: TapRequest): TuneRequirements {
  const { name, user, bridge: master } = request
  const { files } = facts.host
  expectInterfaceName('--tap', name)
  if (master !== undefined) expectInterfaceName('--tap-bridge', master)
  if (!/^[a-z_][a-z0-9_-]*$/.test(user)) throw new UserError('usage', `--user ${user}: not the name of a user`)
  const reason = tapReason(name, user)
  const asked = { tap: name, user, ...(master === undefined ? {} : { bridge: master }) }
  const described = describedHost(facts)?.tap(request)
  if (described !== undefined) return tuneRequirements('tap', reason, { items: described, request: asked })
  const config =
    [ifupdown, netifrc].find((one) => master !== undefined && one.cardProof(files, master, undefined) !== undefined) ??
    TAP_CONFIGS.find((one) => one.activeProof(files) !== undefined)
  if (config === undefined)
    throw new UserError(
      'unknown-system',
      `--tap ${name}: nothing that is known here sets up the network. Nothing was written; by hand:`,
      [`ip tuntap add dev ${name} mode tap user ${user}, wherever your system makes its network.`],
    )
  const settings = config.tap(files, request)
  return tuneRequirements('tap', `${reason}, by ${config.name}`, {
    files: settings,
    request: asked,
    // systemd-networkd alone makes it at once.
    rebootNeeded: !settings.some(({ path }) => path.endsWith('.netdev')),
  })
}

/**
 * What shows that the initramfs sets the network up: a root file system over it, or an address on the command line.
 * Source: Documentation/admin-guide/nfs/nfsroot.rst, dracut.cmdline(7).
 */
function findInitramfsNetwork({ host: { machine }, configured }: TuneFacts): string | undefined {
  const booted = parseCommandLine(machine.optionalText('/proc/cmdline') ?? '')
  const argument = [...booted, ...configured].find(
    ({ name, value }) =>
      /^(ip|nfsroot|netroot|root6|rd\.neednet|bootdev)$/.test(name) ||
      (name === 'root' && /^(\/dev\/nfs$|nfs|dhcp|iscsi|nbd)/.test(value ?? '')),
  )
  if (argument !== undefined) return argument.token
  const mounts = machine.optionalText('/proc/mounts') ?? machine.optionalText('/proc/self/mounts') ?? ''
  const kind = /^\S+ \/ (nfs4?|cifs|9p) /m.exec(mounts)?.[1]
  return kind === undefined ? undefined : `the root file system is ${kind}`
}

/** Some interfaces cannot be ports of a bridge, or are already. */
function bridgePortFinding({ host: { machine } }: TuneFacts, port: string): Finding {
  const base = { code: 'bridge-port', evidence: [] as string[], forceable: false }
  const master = machine.linkName(`${NET}/${port}/master`)
  const wireless = machine.exists(`${NET}/${port}/wireless`) || machine.exists(`${NET}/${port}/phy80211`)
  // What is no card says what it is; ARPHRD_ETHER of if_arp.h.
  const kind = /^DEVTYPE=(.+)$/m.exec(machine.optionalText(`${NET}/${port}/uevent`) ?? '')?.[1]
  const type = machine.optionalText(`${NET}/${port}/type`)?.trim() ?? (port === 'lo' ? '772' : '1')
  if (wireless)
    return {
      ...base,
      state: 'problem',
      summary: `${port} is a wireless card: an access point takes frames of its own address only`,
      next: 'give guests a libvirt network with NAT instead',
    }
  if (master !== undefined)
    return {
      ...base,
      state: 'problem',
      summary: `${port} is a port of ${master} already`,
      next: `use ${master} for guests`,
    }
  if (type !== '1' || (kind !== undefined && kind !== 'dsa'))
    return {
      ...base,
      state: 'problem',
      summary: `${port} is no network card${kind === undefined ? '' : ` (${kind})`}`,
      next: 'name the card with --port; for a VLAN of it, --vlan N',
    }
  return { ...base, state: 'ok', summary: `${port} can be a port of a bridge`, next: null }
}

function manualBridgeError({ name, port }: BridgeRequest, why: string, lines: string[]): UserError {
  return new UserError('unknown-system', `a bridge ${name} with ${port}: ${why}. Nothing was written; by hand:`, lines)
}
