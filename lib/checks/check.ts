import { type CheckName, type CheckResult, type Finding, toFinding } from '../core/finding.ts'
import { type Readers, withDenials, withDenialsAsync } from '../host/denied.ts'

/** A question that a script asks the checks. */
export type Question =
  /** check-host: is the host ready for guests? */
  | 'host'
  /** check-host --device: is the card ready for a guest? */
  | 'device'
  /** bind-vfio, gen-domain, check-host --device: can the host spare the devices, and can a guest have them? */
  | 'taking'
  /** bind-vfio: can they be bound from the next boot on? */
  | 'at-boot'
  /** bind-vfio: can the host spare devices that nobody named, and that the next boot takes from it all the same? */
  | 'also-taken'
  /** bind-vfio --now: can the host spare them at once? */
  | 'taking-now'
  /** hand-over: can a guest have them while it runs, and the host have them back? */
  | 'hand-over'
  /** bind-vfio --now --undo: can the host have them back at once? */
  | 'releasing'
  /** gen-domain: can a guest have devices that are set aside already? */
  | 'bound'
  /** bind-vfio: can devices be bound by ID, and can the boot files be made again? */
  | 'binding'
  /** gen-domain: can the guest have the rest? */
  | 'guest'
  /** bind-vfio --status, check-host --device: are the bindings in force? */
  | 'binding-status'
  /** tune-host --status: are the features in force? */
  | 'tuning-status'

/** A check: the questions that ask it, and its answer. Only the facts that it names are read. */
export interface Check<Facts, Result = CheckResult | CheckResult[]> extends CheckName {
  askedBy: readonly Question[]
  run(facts: Facts): Result
}

/** A check that may ask programs. */
export type AsyncCheck<Facts> = Check<Facts, CheckResult | CheckResult[] | Promise<CheckResult | CheckResult[]>>

/** Returns the checks that a question asks, in their order. */
export function checksFor<C extends { askedBy: readonly Question[] }>(checks: readonly C[], question: Question): C[] {
  return checks.filter(({ askedBy }) => askedBy.includes(question))
}

/**
 * Returns the findings of these checks. A check that asked for something that may not be read is `unknown`, and names
 * it. With `refusing`, a problem that was seen stays a problem.
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

/** Does the same for checks that may ask programs: one after the other, so that each hears only of its own denials. */
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

/** Returns the results of some work; they are `unknown` where not all that it asked for could be read. */
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
