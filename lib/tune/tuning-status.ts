import { claimedArguments } from '../bind/claimed-requirements.ts'
import type { Claim } from '../change/journal.ts'
import { runCheck } from '../checks/judged.ts'
import { confirmFindings, loaderFindings, settingFindings, statusFinding } from '../checks/requirement-findings.ts'
import type { Finding } from '../core/finding.ts'
import { hasArgument } from '../edit/kernel-arguments.ts'
import type { Bootloader, Host } from '../system/system.ts'
import { inForceFindings, overruledBy } from './features.ts'

export type TuneState = 'none' | 'reboot-needed' | 'in-force' | 'drifted'

/** Are the files as they were left, do others leave them in force, do boot entries carry the arguments, and is all of it in force? */
export function tuneHostStatus(
  host: Host,
  bootloader: Bootloader | undefined,
  claims: readonly Claim[],
  boot: string | null,
): { state: TuneState; findings: Finding[] } {
  if (claims.length === 0) return { state: 'none', findings: [] }
  const tokens = claimedArguments(claims)
  const readers = [host.files, host.machine]
  const promised = [
    ...confirmFindings(claims),
    ...runCheck(readers, () => settingFindings(host, claims)),
    ...runCheck(readers, () => loaderFindings(bootloader, tokens)),
    ...runCheck(readers, () => overruledFindings(host, claims)),
  ]
  const declared = claims.flatMap(({ setting }) =>
    setting.kind === 'nix-item' && setting.form === 'arguments' ? [setting.item] : [],
  )
  const now = host.running
    ? runCheck(readers, () => [
        ...argumentFindings(host, [...new Set([...tokens, ...declared])]),
        ...inForceFindings(host, claims),
      ])
    : []
  const findings = [...promised, ...now]
  if (promised.some(({ state }) => state === 'problem')) return { state: 'drifted', findings }
  const fresh = claims.some(({ entry: { entry } }) => entry.plan.rebootNeeded && entry.boot === boot)
  // What a module says is nowhere before the system was made of it, and a boot.
  const made = claims.some(({ setting, entry: { entry } }) => setting.kind === 'nix-item' && entry.boot === boot)
  if (!now.some(({ state }) => state === 'problem') && !made)
    return { state: host.running ? 'in-force' : 'reboot-needed', findings }
  return { state: fresh ? 'reboot-needed' : 'drifted', findings }
}

function argumentFindings({ machine }: Host, tokens: readonly string[]): Finding[] {
  const line = machine.optionalText('/proc/cmdline')
  if (line === undefined || tokens.length === 0) return []
  const lost = tokens.filter((token) => !hasArgument(line, token))
  if (lost.length === 0) return [statusFinding('booted-with', 'ok', `this boot has ${tokens.join(' ')}`, [], null)]
  return [statusFinding('booted-with', 'problem', `this boot has no ${lost.join(' ')}`, ['/proc/cmdline'], 'reboot')]
}

/** Lines of other files that win over ours. */
function overruledFindings({ files }: Host, claims: readonly Claim[]): Finding[] {
  return claims.flatMap(({ owner, setting }) => {
    const others = overruledBy(files, owner, setting)
    if (others.length === 0) return []
    return [
      statusFinding('overruled', 'problem', `${setting.path} is not in force`, others, 'take out what stands there'),
    ]
  })
}
