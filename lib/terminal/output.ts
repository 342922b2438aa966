import { Buffer } from 'node:buffer'
import { fstatSync, writeSync } from 'node:fs'
import { UserError } from '../core/error.ts'
import type { TerminalStyle } from './text.ts'

/**
 * Writes to standard output (1) or standard error (2). A reader that went away (`list-iommu | head -1`) is no error. It
 * does not use process.stdout, whose set-up costs a tenth of a script's start-up.
 * Throws a UserError with code `no-output` when the answer cannot be written; messages that cannot be written are lost.
 */
export function write(stream: 1 | 2, text: string): void {
  let rest = Buffer.from(text)
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(stream, rest))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EAGAIN') writeLater(stream === 1 ? process.stdout : process.stderr, rest)
    else if (code !== 'EPIPE' && stream === 1)
      throw new UserError('no-output', `standard output: cannot be written (${code})`)
  }
}

/** Writes to a full pipe that somebody made non-blocking: Node's stream waits until its reader goes on, or away. */
function writeLater(stream: NodeJS.WriteStream, rest: Buffer): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
  stream.write(rest)
}

/**
 * Returns the style of a stream: colours only on a terminal, and not with --no-color, NO_COLOR (no-color.org) or a dumb
 * terminal.
 */
export function terminalStyle(noColor: boolean, stream: 1 | 2): TerminalStyle {
  const own = (): NodeJS.WriteStream => (stream === 1 ? process.stdout : process.stderr)
  if (!isCharacterDevice(stream) || !own().isTTY) return { color: false, columns: undefined }
  const { NO_COLOR, TERM } = process.env
  return { color: !noColor && !NO_COLOR && TERM !== 'dumb', columns: own().columns || 80 }
}

function isCharacterDevice(stream: 1 | 2): boolean {
  try {
    return fstatSync(stream).isCharacterDevice()
  } catch {
    return false
  }
}
