import { claimedArguments } from '../bind/claimed-requirements.ts'
import { claimsOf, type JournalRecord } from '../change/journal.ts'
import { owingRuns } from '../change/owed.ts'
import { type Check, resultsAsRead, runChecks } from '../checks/check.ts'
import {
  bootEntriesCheck,
  type ClaimFacts,
  cutShortFindings,
  filesCheck,
  owedCheck,
  unconfirmedCheck,
} from '../checks/claim-checks.ts'
import { type Finding, okResult, problemResult, toFinding } from '../core/finding.ts'
import { hasArgument } from '../edit/kernel-arguments.ts'
import type { Bootloader, Host } from '../system/system.ts'
import { inForceFindings, overruledBy } from './features.ts'

export type TuneState = 'none' | 'reboot-needed' | 'in-force' | 'drifted'

/**
 * Checks whether files and boot entries still hold the settings, no other file wins over them, and all is in force.
 * `boot` is the ID of this boot.
 */
export function tuneHostStatus(
  host: Host,
  bootloader: Bootloader | undefined,
  journal: readonly JournalRecord[],
  boot: string | null,
): { state: TuneState; findings: Finding[] } {
  const short = cutShortFindings(host.files, journal)
  const claims = claimsOf(journal, 'tuning')
  if (claims.length === 0) return { state: short.length > 0 ? 'drifted' : 'none', findings: short }
  const tokens = claimedArguments(claims)
  const readers = [host.files, host.machine]
  const checks = [unconfirmedCheck, owedCheck, filesCheck, bootEntriesCheck, overruledCheck]
  const promised = [...short, ...runChecks(checks, { host, bootloader, claims, owing: owingRuns(journal) }, readers)]
  const declared = claims.flatMap(({ setting }) =>
    setting.kind === 'nix-item' && setting.form === 'arguments' ? [setting.item] : [],
  )
  const now = host.running
    ? resultsAsRead(readers, () => [
        ...argumentFindings(host, [...new Set([...tokens, ...declared])]),
        ...inForceFindings(host, claims),
      ])
    : []
  const findings = [...promised, ...now]
  if (promised.some(({ state }) => state === 'problem')) return { state: 'drifted', findings }
  const fresh = claims.some(({ entry: { entry } }) => entry.plan.rebootNeeded && entry.boot === boot)
  // A NixOS module has no effect before the system is built from it and booted.
  const made = claims.some(({ setting, entry: { entry } }) => setting.kind === 'nix-item' && entry.boot === boot)
  if (!now.some(({ state }) => state === 'problem') && !made)
    return { state: host.running ? 'in-force' : 'reboot-needed', findings }
  return { state: fresh ? 'reboot-needed' : 'drifted', findings }
}

function argumentFindings({ machine }: Host, tokens: readonly string[]): Finding[] {
  const line = machine.optionalText('/proc/cmdline')
  if (line === undefined || tokens.length === 0) return []
  const lost = tokens.filter((token) => !hasArgument(line, token))
  const check = { code: 'booted-with' }
  if (lost.length === 0) return [toFinding(check, okResult(`this boot has ${tokens.join(' ')}`))]
  return [toFinding(check, problemResult(`this boot has no ${lost.join(' ')}`, ['/proc/cmdline'], 'reboot'))]
}

/** Finds lines of other files that win over ours. */
const overruledCheck: Check<ClaimFacts> = {
  code: 'overruled',
  askedBy: ['tuning-status'],
  run: ({ host: { files }, claims }) =>
    claims.flatMap(({ owner, setting }) => {
      const others = overruledBy(files, owner, setting)
      if (others.length === 0) return []
      return problemResult(`${setting.path} is not in force`, others, 'take out what stands there')
    }),
}
