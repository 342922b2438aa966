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

/**
 * Does each piece of work, and returns what they return. Settings that contradict what is asked are for a person to
 * correct: all of them are named at once, in one UserError with code `contradiction`. Any other error ends it.
 * `further`: what would be done next with the rest; where there are contradictions already, its own are named too.
 */
export function allOrContradictions<T>(work: readonly (() => T)[], further?: (done: T[]) => void): T[] {
  const found: UserError[] = []
  const attempt = <R>(one: () => R): R[] => {
    try {
      return [one()]
    } catch (error) {
      if (!(error instanceof UserError) || error.code !== 'contradiction') throw error
      found.push(error)
      return []
    }
  }
  const done = work.flatMap(attempt)
  if (found.length > 0 && further !== undefined) attempt(() => further(done))
  const [message, ...more] = [...new Set(found.flatMap((error) => [error.message, ...error.details]))]
  if (message !== undefined) throw new UserError('contradiction', message, more)
  return done
}
