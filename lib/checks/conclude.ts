import type { Finding } from '../core/finding.ts'
import type { Unreadable } from '../host/readings.ts'

/** What a guard has to say, and what it goes by. */
export interface FindingGrounds {
  code: string
  forceable: boolean
  /** One line each: what is so when there is evidence, and when there is none. */
  problem: string
  ok: string
  /** What to do about the problem. */
  next: string
  evidence: string[]
  /** What could not be seen. */
  unreadable?: readonly Unreadable[]
  /** What shows that all is well. */
  okEvidence?: string[]
}

/** Evidence makes a problem; without any, what could not be seen makes it unknown; only then is it ok. */
export function toFinding({
  code,
  forceable,
  problem,
  ok,
  next,
  evidence,
  unreadable = [],
  okEvidence = [],
}: FindingGrounds): Finding {
  if (evidence.length > 0) return { code, state: 'problem', summary: problem, evidence, next, forceable }
  if (unreadable.length === 0) return { code, state: 'ok', summary: ok, evidence: okEvidence, next: null, forceable }
  const root = unreadable.some((each) => each.root)
  return {
    code,
    state: 'unknown',
    summary: `Not known whether ${lowerFirst(problem)}`,
    evidence: [...new Set(unreadable.map(({ what }) => `not seen: ${what}`))],
    next: root ? 'run as root to see it' : null,
    forceable,
  }
}

function lowerFirst(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
}
