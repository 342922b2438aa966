import { fileURLToPath } from 'node:url'
import { sameFile } from '../host/sysroot.ts'
import { terminalStyle, write } from './output.ts'
import { clearProgress, showProgressOn } from './progress.ts'
import type { TerminalStyle } from './text.ts'

/** The caller of a script: its process, or a test that calls it in the test's own. */
export interface Caller {
  /** The script's own arguments. */
  argv: readonly string[]
  /**
   * Writes to standard output (1) or standard error (2).
   * Throws a UserError with code `no-output` when the answer cannot be written.
   */
  write: (stream: 1 | 2, text: string) => void
  /** Returns how text on a stream may look: `columns` on a terminal only. */
  terminalStyle: (noColor: boolean, stream: 1 | 2) => TerminalStyle
  /** Returns the signal that is aborted when what was begun is to be taken back. */
  interrupted: () => AbortSignal
  /** Takes the exit code, once it is known; the message of an error follows it. */
  end: (code: number) => void
  /** Takes the answer or the error as the value that --json prints, beside its text. */
  answered?: (json: object) => void
}

/** The global by which a page that imports a script hands in what is to take the place of the process. */
const HANDED_IN = Symbol.for('vfio-scripts/caller')

/**
 * Returns the caller of a script: the process that runs its file, but for what a page that imports it hands in
 * (`scripts/setup.md`). `url` is the entry's `import.meta.url`.
 */
export function thisProcess(url: string): Caller {
  const handed = (globalThis as { [HANDED_IN]?: Pick<Caller, 'argv'> & Partial<Caller> })[HANDED_IN]
  const columns = (): number | undefined => (process.env.TERM === 'dumb' ? undefined : terminalStyle(true, 2).columns)
  showProgressOn({ columns, write: (text) => write(2, text) })
  return {
    argv: handed?.argv ?? scriptArguments(fileURLToPath(url)),
    terminalStyle,
    interrupted,
    end: (code) => {
      process.exitCode = code
    },
    ...handed,
    write: (stream, text) => {
      clearProgress()
      const own = handed?.write ?? write
      own(stream, text)
    },
  }
}

/**
 * Returns the script's own arguments: under `zx script.mjs …` its path stands somewhere inside argv, and they follow
 * it.
 */
function scriptArguments(self: string): string[] {
  const at = process.argv.findIndex((argument, index) => index > 0 && sameFile(argument, self))
  return process.argv.slice(at < 0 ? 2 : at + 1)
}

let stop: AbortSignal | undefined

/**
 * Returns the signal for taking back: Ctrl-C and SIGTERM take everything back; a lost terminal (SIGHUP) does not stop
 * what was begun.
 */
function interrupted(): AbortSignal {
  if (stop === undefined) {
    const controller = new AbortController()
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => controller.abort())
    process.on('SIGHUP', () => {})
    stop = controller.signal
  }
  return stop
}
