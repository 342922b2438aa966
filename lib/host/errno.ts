import { UserError } from '../core/error.ts'

/** The errors of an absent file. ESRCH: the process that a file of /proc was about is gone. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'ESRCH'])
const DENIED = new Set(['EACCES', 'EPERM'])

/** Returns the errno of a failed system call, such as `ENOENT`; `unknown error` for any other error. */
export function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error'
}

/**
 * Runs system calls on `path`; `undefined` when it is absent. Throws a UserError with code `denied` or `unreadable`,
 * which names path and errno, for every other failure.
 */
export function systemCall<T>(path: string, act: () => T): T | undefined {
  // Otherwise Node collects a stack trace for each failure, and absence is common in sysfs.
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return act()
  } catch (error) {
    const code = errno(error)
    if (ABSENT.has(code)) return undefined
    throw new UserError(DENIED.has(code) ? 'denied' : 'unreadable', `${path}: cannot be read (${code})`)
  } finally {
    Error.stackTraceLimit = limit
  }
}

/**
 * Returns the number of bytes that `read` gave: 0 when there is no more for now (EAGAIN). Reads again when the kernel
 * log lost records (EPIPE).
 */
export function readChunk(read: () => number): number {
  for (;;)
    try {
      return read()
    } catch (error) {
      if (errno(error) === 'EAGAIN') return 0
      if (errno(error) !== 'EPIPE') throw error
    }
}

/** Is this the UserError with code `denied`, about something that is there but may not be read? */
export function isDenied(error: unknown): error is UserError {
  return error instanceof UserError && error.code === 'denied'
}
