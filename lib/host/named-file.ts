import type { Buffer } from 'node:buffer'
import { resolve } from 'node:path'
import { UserError } from '../core/error.ts'
import { openReader } from './sysroot.ts'

/**
 * Returns at most `limit` bytes of a file that a person names, of this machine. Throws a UserError, code `unreadable`,
 * where it is no file.
 */
export function readNamedFile(file: string, limit: number): Buffer {
  const files = openReader('/')
  const path = resolve(file)
  const data = files.bytes(path, limit)
  if (data === undefined)
    throw new UserError(
      'unreadable',
      files.exists(path) ? `${file}: cannot be read: it is a folder` : `${file}: there is no such file`,
    )
  return data
}
