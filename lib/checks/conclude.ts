import type { Finding } from '../core/finding.ts'
import type { Unseen } from '../host/readings.ts'

/** What a guard has to say, and what it goes by. */
export interface Grounds {
  code: string
  forceable: boolean
  /** One line each: what is so when there is evidence, and when there is none. */
  problem: string
  ok: string
  /** What to do about the problem. */
  next: string
  evidence: string[]
  /** What could not be seen. */
  unseen?: readonly Unseen[]
  /** What shows that all is well. */
  fine?: string[]
}

/** Evidence makes a problem; without any, what could not be seen makes it unknown; only then is it ok. */
export function conclude({ code, forceable, problem, ok, next, evidence, unseen = [], fine = [] }: Grounds): Finding {
  if (evidence.length > 0) return { code, state: 'problem', summary: problem, evidence, next, forceable }
  if (unseen.length === 0) return { code, state: 'ok', summary: ok, evidence: fine, next: null, forceable }
  const root = unseen.some((each) => each.root)
  return {
    code,
    state: 'unknown',
    summary: `Not known whether ${lower(problem)}`,
    evidence: [...new Set(unseen.map(({ what }) => `not seen: ${what}`))],
    next: root ? 'run as root to see it' : null,
    forceable,
  }
}

function lower(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
}
