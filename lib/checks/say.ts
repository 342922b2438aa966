import type { Finding } from '../core/finding.ts'

/** A finding that all is well. */
export function okFinding(code: string, summary: string, evidence: string[] = []): Finding {
  return { code, state: 'ok', summary, evidence, next: null, forceable: false }
}

/** A finding that needs somebody to do something: `next`. */
export function problemFinding(code: string, summary: string, evidence: string[], next: string): Finding {
  return { code, state: 'problem', summary, evidence, next, forceable: false }
}

/** A finding that could not be made, and why not. */
export function unknownFinding(code: string, summary: string, evidence: string[], next: string | null = null): Finding {
  return { code, state: 'unknown', summary, evidence, next, forceable: false }
}
