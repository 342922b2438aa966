import { fileURLToPath } from 'node:url'
import { sameFile } from '../host/sysroot.ts'
import { terminalStyle, write } from './output.ts'
import type { TerminalStyle } from './text.ts'

/** What a script has of whoever calls it: of its process, or of a test that calls it in its own. */
export interface Caller {
  /** The arguments that are the script's own. */
  argv: readonly string[]
  /**
   * Writes to standard output (1) or standard error (2).
   * Throws a UserError with code `no-output` when the answer cannot be written.
   */
  write: (stream: 1 | 2, text: string) => void
  /** How what goes there may look: `columns` on a terminal only. */
  terminalStyle: (noColor: boolean, stream: 1 | 2) => TerminalStyle
  /** Aborted when what was begun is to be taken back. */
  interrupted: () => AbortSignal
  /** The exit code, once it is known; of an error, what is said of it follows. */
  end: (code: number) => void
}

/** The process that runs this file, an entry's `import.meta.url`. */
export function thisProcess(url: string): Caller {
  return {
    argv: scriptArguments(fileURLToPath(url)),
    write,
    terminalStyle,
    interrupted,
    end: (code) => {
      process.exitCode = code
    },
  }
}

/** Under `zx script.mjs …` the script's own path stands somewhere inside argv; what follows it is ours. */
function scriptArguments(self: string): string[] {
  const at = process.argv.findIndex((argument, index) => index > 0 && sameFile(argument, self))
  return process.argv.slice(at < 0 ? 2 : at + 1)
}

let stop: AbortSignal | undefined

/** Ctrl-C and SIGTERM take everything back; a lost terminal (SIGHUP) does not stop what was begun. */
function interrupted(): AbortSignal {
  if (stop === undefined) {
    const controller = new AbortController()
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => controller.abort())
    process.on('SIGHUP', () => {})
    stop = controller.signal
  }
  return stop
}
