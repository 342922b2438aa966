import type { Reader } from './reader.ts'

/** The ways to reset a function. Unknown is `null`. */
export interface ResetMethods {
  /** Can this function be reset by itself? */
  supported: boolean | null
  /** The methods in the order in which the kernel tries them; `null` before Linux 5.15, which does not say. */
  methods: string[] | null
}

/**
 * Reads the ways to reset a function. `reset_method` exists since Linux 5.15 and only where a method exists; before
 * that there is only the (write-only) `reset`. A capture without write-only files lacks `remove` as well, and is not
 * whole (`isWhole`): then nothing is known.
 */
export function readReset(reader: Reader, path: string, isWhole: (path: string) => boolean): ResetMethods {
  const reset = reader.exists(`${path}/reset`)
  if (!reset && isWhole(path)) return { supported: false, methods: [] }
  const methods = reader.text(`${path}/reset_method`)?.split(/\s+/).filter(Boolean)
  if (methods !== undefined) return { supported: methods.length > 0, methods }
  return { supported: reset ? true : null, methods: null }
}
