/** The result of one check. Guards, `--status` and check-host are selections of the checks. */
export interface Finding {
  /** The name of the check, such as `boot-vga` or `only-gpu`; `--force CODE` takes the name of an overridable one. */
  code: string
  state: 'ok' | 'problem' | 'unknown'
  /** The fact that was found, in one line. */
  summary: string
  /** The evidence for it: the mount, the route, the process, or the file and line. */
  evidence: string[]
  /** The action to take when there is a problem. */
  next: string | null
  /** May `--force CODE` override it? Only the problem of a guard can be overridden. */
  forceable: boolean
}

/** The name of a check. */
export interface CheckName {
  code: string
  /** May `--force CODE` override its problem? By default it may not. */
  forceable?: boolean
}

/** A finding without the name of its check. */
export type CheckResult = Omit<Finding, keyof CheckName>

/** Makes a finding of a check's result; findings are made in no other way. */
export function toFinding(
  { code, forceable = false }: CheckName,
  { state, summary, evidence, next }: CheckResult,
): Finding {
  return { code, state, summary, evidence, next, forceable }
}

/** Returns the result that all is well. */
export function okResult(summary: string, evidence: string[] = []): CheckResult {
  return { state: 'ok', summary, evidence, next: null }
}

/** Returns a problem; `next` is the action to take. */
export function problemResult(summary: string, evidence: string[], next: string | null): CheckResult {
  return { state: 'problem', summary, evidence, next }
}

/** Returns the result that the answer could not be seen; the evidence says why. */
export function unknownResult(summary: string, evidence: string[], next: string | null = null): CheckResult {
  return { state: 'unknown', summary, evidence, next }
}

/** The texts of a check that is decided by evidence. */
export interface EvidenceTexts {
  /** The summaries where there is evidence, and where there is none; one line each. */
  problem: string
  ok: string
  /** The action to take on the problem. */
  next: string
  evidence: string[]
  /** The summary where it could not be seen; needed where the problem is that something is not so. */
  unknown?: string
  /** The things that could not be seen, and whether root would see them. */
  unreadable?: readonly { what: string; root: boolean }[]
  /** The evidence that all is well. */
  okEvidence?: string[]
}

/** Returns a problem where there is evidence, else `unknown` where something could not be seen, else `ok`. */
export function evidenceResult(texts: EvidenceTexts): CheckResult {
  const { problem, ok, next, evidence, unreadable = [], okEvidence = [] } = texts
  if (evidence.length > 0) return problemResult(problem, evidence, next)
  if (unreadable.length === 0) return okResult(ok, okEvidence)
  return unknownResult(
    texts.unknown ?? `It is not known whether ${lowerFirst(problem)}`,
    [...new Set(unreadable.map(({ what }) => `not seen: ${what}`))],
    unreadable.some(({ root }) => root) ? 'run as root to see it' : null,
  )
}

function lowerFirst(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text
}
