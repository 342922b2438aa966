/**
 * An error that a person can act on: one line that says what went wrong, where, and what to do next.
 * Anything else that is thrown is a bug and keeps its stack trace.
 */
export class UserError extends Error {
  /** The machine-readable code, which `--json` shows as `error.code`: `usage`, `unreadable` and so on. */
  readonly code: string
  /** Lines for people below the message (`error.details` in JSON): steps to take by hand, or things that were found. */
  readonly details: readonly string[]

  constructor(code: string, message: string, details: readonly string[] = []) {
    super(message)
    this.name = 'UserError'
    this.code = code
    this.details = details
  }
}
