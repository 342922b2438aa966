import { type CheckName, evidenceResult, type Finding, toFinding } from '../core/finding.ts'
import { readInterface } from '../host/network.ts'
import { readSsh } from '../host/usage.ts'
import type { TuneFacts } from './feature.ts'

export const noConfirmGuard: CheckName = { code: 'no-confirm', forceable: true }

/**
 * Checks whether this machine is reached over the card that becomes a bridge's port: by the default route or an SSH
 * session, on the card or what is built on it. If the bridge does not come up, only a dead man's switch can undo it.
 */
export function reachedOver({ host: { machine } }: TuneFacts, port: string): Finding {
  const network = readInterface(machine, port)
  const chains = network.interfaces.flatMap((each) => each.chains)
  const over = (names: readonly string[]): string[] =>
    chains.filter((chain) => names.includes(chain.at(-1) ?? '')).map((chain) => chain.join(' → '))
  const ssh = readSsh(machine, network)
  const routes = network.routes.filter(({ destination }) => destination === 'default')
  const evidence = [
    ...routes.flatMap(({ device, family }) =>
      over([device]).map((way) => `${way} has the default route (IPv${family})`),
    ),
    ...ssh.sessions.flatMap(({ peer, interfaces, shownBy }) =>
      over(interfaces).map((way) => `${way} leads to ${peer} (${shownBy})`),
    ),
  ]
  const result = evidenceResult({
    problem: `This machine is reached over ${port}, and nobody would take the bridge back if it does not come up`,
    ok: `This machine is not reached over ${port}`,
    next: 'add --confirm-within 10m: unless --confirm follows, it is as before; --force no-confirm if you can get at the console',
    evidence: [...new Set(evidence)],
    unreadable: [...network.unseen, ...ssh.unseen],
  })
  return toFinding(noConfirmGuard, result)
}
