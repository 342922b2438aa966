import type { Buffer } from 'node:buffer'
import { createRequire } from 'node:module'

/** Unpacks gzip; returns `undefined` for anything else, and for more than 64 MiB. */
export function gunzip(data: Buffer): Buffer | undefined {
  // Loaded only here, because zlib costs every other start a millisecond.
  const zlib = createRequire(import.meta.url)('node:zlib') as typeof import('node:zlib')
  try {
    return zlib.gunzipSync(data, { maxOutputLength: 64 * 1024 * 1024 })
  } catch {
    return undefined
  }
}
