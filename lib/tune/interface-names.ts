import { claimsOf } from '../change/journal.ts'
import { settingKey } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { hasAccount } from '../host/accounts.ts'
import type { Reader } from '../host/reader.ts'
import { describedHost, type TuneFacts, type TuneRequirements } from './feature.ts'
import { ifupdown } from './networks/ifupdown.ts'
import { netifrc } from './networks/netifrc.ts'
import { netplan } from './networks/netplan.ts'
import type { NetworkConfig, TapRequest } from './networks/network-config.ts'
import { networkManager } from './networks/network-manager.ts'
import { networkd } from './networks/networkd.ts'

const NET = '/sys/class/net'
const CONFIGS = [netplan, ifupdown, netifrc, networkd, networkManager]

/** Throws a UserError, code `no-user`, for a user that this system does not know. Where users come from elsewhere, nobody knows. */
export function expectUser({ host: { files } }: TuneFacts, user: string): void {
  if (!/^[a-z_][a-z0-9_-]*$/.test(user)) throw new UserError('usage', `--user ${user}: not the name of a user`)
  if (hasAccount(files, 'passwd', user) === false)
    throw new UserError('no-user', `--user ${user}: there is no such user; useradd makes one`)
}

/**
 * Throws a UserError for a TAP device whose name is taken: `exists` where it is an interface of somebody else,
 * `contradiction` where it is ours and was made otherwise.
 */
export function expectFreeTap(
  { journal, host: { machine } }: TuneFacts,
  { name }: TapRequest,
  requirements: TuneRequirements,
): void {
  const own = claimsOf(journal).filter(({ owner, setting }) => owner === 'tap' && setting.request?.tap === name)
  const known = claimsOf(journal).map(({ key, setting }) => (setting.kind === 'nix-item' ? setting.item : key))
  const required = [...requirements.files.map(settingKey), ...requirements.items.map(({ item }) => item)]
  if (own.length > 0 && !required.every((one) => known.includes(one)))
    throw new UserError(
      'contradiction',
      `--tap ${name}: it is set up already, otherwise (${own[0]?.setting.reason}): take that back first (--undo tap --apply)`,
    )
  if (own.length === 0 && machine.exists(`${NET}/${name}`))
    throw new UserError('exists', `--tap ${name}: there is an interface of this name already; choose another name`)
}

/** Is this name set up there? An entry that may be of any card is of no bridge. */
function setsUpInterface(config: NetworkConfig, files: Reader, name: string): boolean {
  try {
    return config.cardProof(files, name, undefined) !== undefined
  } catch (error) {
    if (error instanceof UserError && error.code === 'unknown-system') return false
    throw error
  }
}

/** Is there a bridge of this name, or is one being made? `made`: the one that the same run makes. */
export function bridgeFinding(facts: TuneFacts, name: string, made: string | undefined): Finding {
  const { machine, files } = facts.host
  const base = { code: 'no-bridge', forceable: true }
  const ours = claimsOf(facts.journal).some(
    ({ owner, setting }) => owner === 'bridge' && setting.request?.bridge === name,
  )
  const seen = machine.list(NET)
  const planned = name === made || ours || CONFIGS.some((one) => setsUpInterface(one, files, name))
  if (planned || machine.exists(`${NET}/${name}/bridge`))
    return { ...base, state: 'ok', summary: `${name} is a bridge`, evidence: [], next: null }
  const described = describedHost(facts) !== undefined
  if (seen === undefined || described)
    return {
      ...base,
      state: 'unknown',
      summary: `Not known whether ${name} is a bridge`,
      evidence: [`not seen: ${described ? 'what your configuration makes' : NET}`],
      next: null,
    }
  const there = seen.includes(name)
  return {
    ...base,
    state: 'problem',
    summary: there ? `${name} is no bridge of the kernel` : `There is no bridge ${name}`,
    evidence: there ? [`${NET}/${name} has no folder bridge; a switch of Open vSwitch has none either`] : [NET],
    next: `make it first (--bridge ${name} --port CARD)`,
  }
}

/** Throws a UserError, code `exists`, where libvirt has a network of this name that is not ours: it would keep its own. */
export function expectFreeNetwork({ journal, host: { files } }: TuneFacts, name: string): void {
  const path = `/etc/libvirt/qemu/networks/${name}.xml`
  const ours = claimsOf(journal).some(({ setting }) => setting.path.endsWith(`/network-${name}.xml`))
  if (!ours && files.exists(path))
    throw new UserError('exists', `--libvirt-network ${name}: libvirt has a network of this name already (${path})`)
}
