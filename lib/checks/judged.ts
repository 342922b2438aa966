import type { Finding } from '../core/finding.ts'
import { notice, noticeNow, type Readers } from '../host/denied.ts'

/**
 * The findings of one check. When something that it asked for was not ours to read, nobody knows what it would have said:
 * they are unknown then, and name it.
 */
export function judged(readers: Readers, check: () => Finding | Finding[]): Finding[] {
  const { value, denied } = noticeNow(readers, check)
  return [value].flat().map((one) => lessened(one, denied))
}

/** As `judged`, of guards: what was seen to speak against it does so, whatever else there is. */
export function guarded(readers: Readers): (check: () => Finding | Finding[]) => Finding[] {
  return (check) => {
    const { value, denied } = noticeNow(readers, check)
    return [value].flat().map((one) => (one.state === 'problem' ? one : lessened(one, denied)))
  }
}

/** As `judged`, of a check that asks programs too. */
export async function judgedLater(
  readers: Readers,
  check: () => Finding | Finding[] | Promise<Finding | Finding[]>,
): Promise<Finding[]> {
  const { value, denied } = await notice(readers, check)
  return [value].flat().map((one) => lessened(one, denied))
}

function lessened(finding: Finding, denied: readonly string[]): Finding {
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
