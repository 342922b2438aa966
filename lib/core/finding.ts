/** What a check found. Guards, `--status` and the checks of other scripts are selections of these. */
export interface Finding {
  /** Names the check: `boot-vga`, `only-gpu`; `--force CODE` takes an overridable one. */
  code: string
  state: 'ok' | 'problem' | 'unknown'
  /** One line: what is so. */
  summary: string
  /** What shows it: which mount, which route, which process, which file and line. */
  evidence: string[]
  /** What to do about a problem. */
  next: string | null
  /** Of a guard's problem: may `--force CODE` override it? */
  forceable: boolean
}
