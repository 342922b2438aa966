/**
 * An error that a person can act on: one line that says what, where and what to do next.
 * Anything else that is thrown is a bug and keeps its stack trace.
 */
export class UserError extends Error {
  /** Machine-readable, shown as `error.code` with `--json`: `usage`, `unreadable` and so on. */
  readonly code: string
  /** What to do by hand, or what was found: lines for people below the message, `error.details` in JSON. */
  readonly details: readonly string[]

  constructor(code: string, message: string, details: readonly string[] = []) {
    super(message)
    this.name = 'UserError'
    this.code = code
    this.details = details
  }
}
