import { claimsOf } from '../../change/journal.ts'
import { UserError } from '../../core/error.ts'
import { hasAccount } from '../../host/accounts.ts'
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
import { findTapConfig } from '../networks/known-networks.ts'
import { type TapRequest, tapReason } from '../networks/network-config.ts'
import { bridgeFinding } from './bridge.ts'

/** Makes a network interface that a guest is attached to, for QEMU without root. */
export const tapDevice: TuneFeature = {
  name: 'tap',
  ofMachine: true,
  option: { kind: 'value', value: 'NAME', help: 'make a TAP device' },
  with: [
    { name: 'user', kind: 'value', value: 'USER', help: 'who may use it' },
    { name: 'tap-bridge', kind: 'value', value: 'NAME', help: 'the bridge that it is a port of' },
  ],

  requirements(facts, given, options) {
    const user = given.value('user')
    const bridge = given.value('tap-bridge')
    if (user === undefined) throw new UserError('usage', '--tap needs --user, whose guests may use it')
    expectUser(facts, user)
    const request = { name: given.value('tap') ?? '', user, bridge }
    const required = requireTap(facts, request)
    expectFreeTap(facts, request.name, options)
    const findings = bridge === undefined ? [] : [bridgeFinding(facts, bridge, given.value('bridge'))]
    return { ...required, findings }
  },

  inForce: (host, settings) =>
    interfaceFindings(host, settings, { option: 'tap', attribute: 'tun_flags', kind: 'TAP device' }),
}

/** Throws a UserError: `usage` for an invalid name, `no-user` for a user that this system surely does not have. */
function expectUser({ host: { files } }: TuneFacts, user: string): void {
  if (!/^[a-z_][a-z0-9_-]*$/.test(user)) throw new UserError('usage', `--user ${user}: not the name of a user`)
  if (hasAccount(files, 'passwd', user) === false)
    throw new UserError('no-user', `--user ${user}: there is no such user; useradd makes one`)
}

/**
 * Decides how a TAP device that a user may open is made at boot: by what makes the bridge that it is a port of, or by
 * what sets up the network. Throws a UserError: `usage`, `unknown-system`.
 */
function requireTap(facts: TuneFacts, request: TapRequest): FeatureRequirements {
  const { name, user, bridge } = request
  const { files } = facts.host
  expectInterfaceName('--tap', name)
  if (bridge !== undefined) expectInterfaceName('--tap-bridge', bridge)
  const reason = tapReason(name, user)
  if (isDescribed(facts)) return tuneRequirements(reason, { required: [{ kind: 'tap', ...request }] })
  const config = findTapConfig(files, bridge)
  if (config === undefined)
    throw new UserError(
      'unknown-system',
      `--tap ${name}: nothing that is known here sets up the network. Nothing was written; by hand:`,
      [`ip tuntap add dev ${name} mode tap user ${user}, wherever your system makes its network.`],
    )
  const settings = config.tap(files, request)
  return tuneRequirements(`${reason}, by ${config.name}`, {
    settings,
    // Only systemd-networkd makes it at once.
    rebootNeeded: !settings.some(({ path }) => path.endsWith('.netdev')),
  })
}

/**
 * Throws a UserError for a TAP device whose name is taken: `exists` where it is an interface of somebody else,
 * `contradiction` where it is ours and was made otherwise.
 */
function expectFreeTap({ journal, host: { machine } }: TuneFacts, name: string, options: FeatureRequest): void {
  const own = claimsOf(journal).find(({ owner, setting }) => owner === 'tap' && setting.request?.tap === name)
  if (own !== undefined && !isSameRequest(own.setting, options))
    throw new UserError(
      'contradiction',
      `--tap ${name}: it is set up already, otherwise (${own.setting.reason}): take that back first (--undo tap --apply)`,
    )
  if (own === undefined && machine.exists(`/sys/class/net/${name}`))
    throw new UserError('exists', `--tap ${name}: there is an interface of this name already; choose another name`)
}
