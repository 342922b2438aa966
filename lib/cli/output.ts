import { Buffer } from 'node:buffer'
import { fstatSync, writeSync } from 'node:fs'
import type { Look } from './text.ts'

/**
 * Writes to standard output (1) or standard error (2). A reader that went away (`list-iommu | head -1`) is no error.
 * Not through process.stdout, which costs a tenth of a script's start-up to set up.
 */
export function write(stream: 1 | 2, text: string): void {
  let rest = Buffer.from(text)
  try {
    while (rest.length > 0) rest = rest.subarray(writeSync(stream, rest))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EPIPE') return
    // A pipe that somebody made non-blocking is full: Node's stream waits for it.
    if (code !== 'EAGAIN') throw error
    ;(stream === 1 ? process.stdout : process.stderr).write(rest)
  }
}

/** Colours only on a terminal, and not with --no-color, NO_COLOR (no-color.org) or a dumb terminal. */
export function look(noColor: boolean): Look {
  if (!isCharacterDevice() || !process.stdout.isTTY) return { color: false, columns: undefined }
  const { NO_COLOR, TERM } = process.env
  return { color: !noColor && !NO_COLOR && TERM !== 'dumb', columns: process.stdout.columns || 80 }
}

function isCharacterDevice(): boolean {
  try {
    return fstatSync(1).isCharacterDevice()
  } catch {
    return false
  }
}
