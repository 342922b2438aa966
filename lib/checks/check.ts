import { type CheckName, type CheckResult, type Finding, toFinding } from '../core/finding.ts'
import { type Readers, withDenials, withDenialsAsync } from '../host/denied.ts'

/** What asks checks, and what it wants to know. */
export type Question =
  /** check-host: is the host ready for guests? */
  | 'host'
  /** check-host --device: what is to know of the card? */
  | 'device'
  /** bind-vfio, gen-domain, check-host --device: can the host do without the devices, and a guest have them? */
  | 'taking'
  /** bind-vfio --now: the same, at once. */
  | 'taking-now'
  /** bind-vfio --now --undo: can they go back at once? */
  | 'releasing'
  /** gen-domain: what still matters of devices that are set aside for guests already? */
  | 'bound'
  /** bind-vfio: can it go by ID, and can the boot files be made again? */
  | 'binding'
  /** gen-domain: can the guest have the rest? */
  | 'guest'
  /** bind-vfio --status, check-host --device: is what was bound in force? */
  | 'binding-status'
  /** tune-host --status: is what was set up in force? */
  | 'tuning-status'

/** One check: who asks it, and its answer. It reads of the facts what it names, and only that is read. */
export interface Check<Facts, Result = CheckResult | CheckResult[]> extends CheckName {
  askedBy: readonly Question[]
  run(facts: Facts): Result
}

/** A check that may ask programs. */
export type AsyncCheck<Facts> = Check<Facts, CheckResult | CheckResult[] | Promise<CheckResult | CheckResult[]>>

/** Those of the checks that a question asks, in their order. */
export function checksFor<C extends { askedBy: readonly Question[] }>(checks: readonly C[], question: Question): C[] {
  return checks.filter(({ askedBy }) => askedBy.includes(question))
}

/**
 * The findings of these checks. When something that one asked for was not ours to read, nobody knows what it would have
 * said: it is unknown then, and names it. With `refusing`, what was seen to be a problem is one whatever else there is.
 */
export function runChecks<Facts>(
  checks: readonly Check<Facts>[],
  facts: Facts,
  readers: Readers,
  refusing = false,
): Finding[] {
  return checks.flatMap((check) => {
    const results = resultsAsRead(readers, () => [check.run(facts)].flat(), refusing)
    return results.map((one) => toFinding(check, one))
  })
}

/** The same for checks that may ask programs; one after the other, or one would hear of another's denials. */
export async function runChecksAsync<Facts>(
  checks: readonly AsyncCheck<Facts>[],
  facts: Facts,
  readers: Readers,
): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const check of checks) {
    const { value, denied } = await withDenialsAsync(readers, () => check.run(facts))
    findings.push(...[value].flat().map((one) => toFinding(check, asRead(one, denied, false))))
  }
  return findings
}

/** The results of some work, unknown where not all that it asked for could be read. */
export function resultsAsRead<R extends CheckResult>(readers: Readers, work: () => R[], refusing = false): R[] {
  const { value, denied } = withDenials(readers, work)
  return value.map((one) => asRead(one, denied, refusing))
}

function asRead<R extends CheckResult>(result: R, denied: readonly string[], refusing: boolean): R {
  const { summary, state, evidence } = result
  if (denied.length === 0 || (refusing && state === 'problem')) return result
  return {
    ...result,
    state: 'unknown',
    summary: state === 'unknown' ? summary : `Not known; as far as can be seen: ${summary}`,
    evidence: [...new Set([...evidence, ...denied.map((message) => `not seen: ${message}`)])],
    next: 'run as root to see it',
  }
}
