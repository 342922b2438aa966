import { claimsOf } from '../../change/journal.ts'
import { UserError } from '../../core/error.ts'
import { type CheckName, type Finding, okResult, problemResult, toFinding, unknownResult } from '../../core/finding.ts'
import { parseCommandLine } from '../../host/kernel.ts'
import { readBridgePort } from '../../host/network-card.ts'
import type { Arguments } from '../../terminal/options.ts'
import {
  expectInterfaceName,
  type FeatureRequest,
  type FeatureRequirements,
  isDescribed,
  isSameRequest,
  type TuneFacts,
  type TuneFeature,
  tuneRequirements,
} from '../feature.ts'
import { interfaceFindings } from '../in-force.ts'
import { withoutCloudInit } from '../networks/cloud-init.ts'
import { findCardConfig, isSetUp } from '../networks/known-networks.ts'
import { type BridgeRequest, bridgeReason } from '../networks/network-config.ts'
import { ownAddresses } from '../networks/own-addresses.ts'
import { noConfirmGuard } from '../reached.ts'

const NET = '/sys/class/net'

const noBridgeGuard: CheckName = { code: 'no-bridge', forceable: true }
const bridgePortGuard: CheckName = { code: 'bridge-port' }

/** Makes a bridge that guests are attached to, with a network card as its port. */
export const bridge: TuneFeature = {
  name: 'bridge',
  ofMachine: true,
  option: { kind: 'value', value: 'NAME', help: 'make a bridge for guests (br0), from the next boot on' },
  with: [
    { name: 'port', kind: 'value', value: 'INTERFACE', help: 'the network card that is its port' },
    { name: 'vlan', kind: 'value', value: 'N', help: 'for guests of this VLAN; the host stays as it is' },
    { name: 'address', kind: 'list', value: 'ADDRESS/N', help: "the host's own address in the VLAN (10.0.0.37/24)" },
    { name: 'gateway', kind: 'list', value: 'ADDRESS', help: "the host's default route leads there, through the VLAN" },
    { name: 'dns', kind: 'list', value: 'ADDRESS', help: 'a DNS server in the VLAN' },
  ],
  guards: [noConfirmGuard, noBridgeGuard, bridgePortGuard],
  requirements: requireBridge,
  inForce: (host, settings) =>
    interfaceFindings(host, settings, { option: 'bridge', attribute: 'bridge', kind: 'bridge' }),
}

/**
 * Decides how the program that sets up this host's network makes a bridge for guests. The next boot makes it as a
 * whole: a change of the network in use could cut off the person who makes it. Throws a UserError: `no-interface`,
 * `unknown-system`.
 */
function requireBridge(facts: TuneFacts, given: Arguments, options: FeatureRequest): FeatureRequirements {
  const { machine, files } = facts.host
  const name = given.value('bridge') ?? ''
  const port = given.value('port')
  if (port === undefined) throw new UserError('usage', '--bridge needs --port, the network card that is its port')
  expectInterfaceName('--bridge', name)
  expectInterfaceName('--port', port)
  const vlan = given.value('vlan') === undefined ? undefined : Number(given.value('vlan'))
  if (vlan !== undefined && !(Number.isInteger(vlan) && vlan >= 1 && vlan <= 4094))
    throw new UserError('usage', `--vlan ${given.value('vlan')}: not the number of a VLAN (1 to 4094)`)
  const seen = machine.list(NET)
  if (seen !== undefined && !seen.includes(port))
    throw new UserError(
      'no-interface',
      `--port ${port}: no such network card here; there is ${seen.filter((one) => one !== 'lo').join(', ')}`,
    )
  const own = ownAddresses(machine, given, { name, port })
  const { mac, iaid, active } = readBridgePort(machine, port)
  const lower = vlan === undefined ? port : `${port}.${vlan}`
  const request: BridgeRequest = { name, port, mac, iaid, active, vlan, own, lower }
  const reason = bridgeReason(request)
  const present = claimsOf(facts.journal).flatMap(({ owner, setting }) => (owner === 'bridge' ? [setting] : []))
  if (present.some((setting) => isSameRequest(setting, options))) return tuneRequirements(reason, { settings: present })
  if (present.length > 0)
    throw new UserError('contradiction', `${present[0]?.reason}: take that back first (--undo bridge --apply)`)
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
  if (isDescribed(facts))
    return tuneRequirements(reason, {
      required: [{ kind: 'bridge', name, port, mac, vlan, own }],
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
  const found = findCardConfig(files, port, mac)
  if (found === undefined)
    throw new UserError(
      'unknown-system',
      `a bridge ${name} with ${port}: nothing that is known here sets ${port} up. Nothing was written; by hand:`,
      [
        `ip link add name ${name} type bridge && ip link set ${port} master ${name}, wherever your system makes its network.`,
      ],
    )
  const { config, proof } = found
  const moved =
    vlan === undefined
      ? `What ${port} has of addresses, DNS and routes goes to ${name}.`
      : `${port} itself stays as it is.${own === null ? '' : ` The host has ${own.addresses.join(' and ')} on ${name}.`}`
  const { settings, notes = [] } = config.bridge(files, request)
  const edited =
    vlan === undefined ? (settings.find(({ kind }) => kind === 'replaced-lines')?.path ?? proof) : undefined
  const external = edited === undefined ? undefined : withoutCloudInit(files, edited, reason)
  return tuneRequirements(`${name}, with ${port}, by ${config.name}`, {
    settings: external === undefined ? settings : [...settings, external],
    findings: [bridgePortFinding(facts, port)],
    notes: [
      `The network is set up by ${config.name} (${proof}). ${moved}`,
      ...(external === undefined
        ? []
        : [`cloud-init wrote ${edited} and would again: it leaves the network alone now.`]),
      // ifupdown reads the address when it makes the bridge.
      ...(config.name === 'ifupdown' ? [] : unnamed),
      ...notes,
      'A remote host: add --confirm-within 10m, so that it comes back by itself if you cannot reach it.',
    ],
    rebootNeeded: true,
  })
}

/** Checks that a bridge of this name is there or is being made. `made`: the one that the same run makes. */
export function bridgeFinding(facts: TuneFacts, name: string, made: string | undefined): Finding {
  const { machine, files } = facts.host
  const ours = claimsOf(facts.journal).some(
    ({ owner, setting }) => owner === 'bridge' && setting.request?.bridge === name,
  )
  const seen = machine.list(NET)
  if (name === made || ours || isSetUp(files, name) || machine.exists(`${NET}/${name}/bridge`))
    return toFinding(noBridgeGuard, okResult(`${name} is a bridge`))
  const described = isDescribed(facts)
  if (seen === undefined || described)
    return toFinding(
      noBridgeGuard,
      unknownResult(`It is not known whether ${name} is a bridge`, [
        `not seen: ${described ? 'what your configuration makes' : NET}`,
      ]),
    )
  const there = seen.includes(name)
  return toFinding(
    noBridgeGuard,
    problemResult(
      there ? `${name} is no bridge of the kernel` : `There is no bridge ${name}`,
      there ? [`${NET}/${name} has no folder bridge; a switch of Open vSwitch has none either`] : [NET],
      `make it first (--bridge ${name} --port CARD)`,
    ),
  )
}

/**
 * Finds the evidence that the initramfs sets the network up: a root file system over it, or an address on the command
 * line. Source: Documentation/admin-guide/nfs/nfsroot.rst, dracut.cmdline(7).
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

/** Checks that the interface can be the port of a bridge, and is not one already. */
function bridgePortFinding({ host: { machine } }: TuneFacts, port: string): Finding {
  const folder = `${NET}/${port}`
  const refused = (summary: string, next: string): Finding =>
    toFinding(bridgePortGuard, problemResult(summary, [], next))
  const master = machine.linkName(`${folder}/master`)
  if (machine.exists(`${folder}/wireless`) || machine.exists(`${folder}/phy80211`))
    return refused(
      `${port} is a wireless card: an access point takes frames of its own address only`,
      'give guests a libvirt network with NAT instead',
    )
  if (master !== undefined) return refused(`${port} is a port of ${master} already`, `use ${master} for guests`)
  // An interface that is no card has a DEVTYPE; a card has the type ARPHRD_ETHER of if_arp.h.
  const kind = /^DEVTYPE=(.+)$/m.exec(machine.optionalText(`${folder}/uevent`) ?? '')?.[1]
  const type = machine.optionalText(`${folder}/type`)?.trim() ?? (port === 'lo' ? '772' : '1')
  if (type !== '1' || (kind !== undefined && kind !== 'dsa'))
    return refused(
      `${port} is no network card${kind === undefined ? '' : ` (${kind})`}`,
      'name the card with --port; for a VLAN of it, --vlan N',
    )
  return toFinding(bridgePortGuard, okResult(`${port} can be a port of a bridge`))
}
