import { UserError } from '../core/error.ts'

/** ESRCH: the process that a file of /proc was about is gone. */
const ABSENT = new Set(['ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO', 'ESRCH'])
const DENIED = new Set(['EACCES', 'EPERM'])

export function errno(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown error'
}

/**
 * Runs system calls on `path`. `undefined` when it is absent; a UserError with code `denied` or `unreadable`, which
 * names path and errno, for every other failure.
 */
export function systemCall<T>(path: string, act: () => T): T | undefined {
  // Node collects a stack trace for each failure otherwise, and absence is common in sysfs.
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

/** What a read gave: 0 where there is no more for now (EAGAIN); again where the kernel log lost records (EPIPE). */
export function readChunk(read: () => number): number {
  for (;;)
    try {
      return read()
    } catch (error) {
      if (errno(error) === 'EAGAIN') return 0
      if (errno(error) !== 'EPIPE') throw error
    }
}

/** Is this what `call` throws of something that is there, but not ours to read? */
export function isDenied(error: unknown): error is UserError {
  return error instanceof UserError && error.code === 'denied'
}
