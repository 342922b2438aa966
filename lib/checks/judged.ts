import type { Finding } from '../core/finding.ts'
import { type Readers, withDenials, withDenialsAsync } from '../host/denied.ts'

/**
 * The findings of one check. When something that it asked for was not ours to read, nobody knows what it would have said:
 * they are unknown then, and name it.
 */
export function runCheck(readers: Readers, check: () => Finding | Finding[]): Finding[] {
  const { value, denied } = withDenials(readers, check)
  return [value].flat().map((one) => asUnknown(one, denied))
}

/** As `judged`, of guards: what was seen to speak against it does so, whatever else there is. */
export function guardRunner(readers: Readers): (check: () => Finding | Finding[]) => Finding[] {
  return (check) => {
    const { value, denied } = withDenials(readers, check)
    return [value].flat().map((one) => (one.state === 'problem' ? one : asUnknown(one, denied)))
  }
}

/** As `judged`, of a check that asks programs too. */
export async function runCheckAsync(
  readers: Readers,
  check: () => Finding | Finding[] | Promise<Finding | Finding[]>,
): Promise<Finding[]> {
  const { value, denied } = await withDenialsAsync(readers, check)
  return [value].flat().map((one) => asUnknown(one, denied))
}

function asUnknown(finding: Finding, denied: readonly string[]): Finding {
  if (denied.length === 0) return finding
  const { summary, state, evidence } = finding
  return {
    ...finding,
    state: 'unknown',
    summary: state === 'unknown' ? summary : `Not known; as far as can be seen: ${summary}`,
    evidence: [...new Set([...evidence, ...denied.map((message) => `not seen: ${message}`)])],
    next: 'run as root to see it',
  }
}
