/** The result of one check. Guards, `--status` and the checks of other scripts are selections of these findings. */
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
