/**
 * An error that a person can act on: one line that says what, where and what to do next.
 * Anything else that is thrown is a bug and keeps its stack trace.
 */
export class UserError extends Error {
  /** Machine-readable, shown as `error.code` with `--json`: `usage`, `unreadable` and so on. */
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'UserError'
    this.code = code
  }
}
