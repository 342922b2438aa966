import { resolve } from 'node:path'
import { writeTree } from '../change/write-tree.ts'
import { UserError } from '../core/error.ts'
import { VERSION } from '../core/version.ts'
import { captureTree } from '../host/capture.ts'
import { type Machine, openMachine } from '../host/machine.ts'
import type { Caller } from '../terminal/caller.ts'
import { type Arguments, helpJson, helpText, parseArguments, type Script } from '../terminal/options.ts'
import { jsonText, printable, type TerminalStyle } from '../terminal/text.ts'

/** The answer of a script: the exit code, the value for `--json`, and the same value as text for people. */
export interface Answer {
  /** 0: done, nothing to do, healthy. 1: the answer is no. */
  code: 0 | 1
  json: { schema: string }
  text: (style: TerminalStyle) => string
}

/** The value that is printed for an error with `--json`. */
export interface ErrorDocument {
  schema: 'vfio-scripts/error/1'
  error: { code: string; message: string; details?: readonly string[] }
}

export interface Context {
  arguments: Arguments
  machine: Machine
  script: Script
  caller: Caller
  /** Writes a line to standard error. */
  warn: (message: string) => void
}

/**
 * Runs a script: parses its arguments, answers, prints, and gives the caller the exit code: the answer's, or 2 for an
 * error. A script that only reads has answered when this returns; one that runs programs answers later.
 */
export function runCli(script: Script, caller: Caller, answer: (context: Context) => Answer | Promise<Answer>): void {
  const { argv, write } = caller
  const say = (message: string): void => write(2, `${script.name}: ${printable(message)}\n`)
  let remarks = (): string[] => []
  const fail = (error: unknown): void => {
    caller.end(2)
    if (!(error instanceof UserError)) throw error
    const { code, details } = error
    const message = code === 'denied' ? `${error.message}: run as root` : error.message
    for (const remark of remarks()) if (!remark.startsWith(error.message)) say(remark)
    const document: ErrorDocument = { schema: 'vfio-scripts/error/1', error: { code, message } }
    if (details.length > 0) document.error.details = details
    caller.answered?.(document)
    if (wantsJson(argv) && code !== 'no-output') write(1, jsonText(document))
    say(message)
    for (const line of details) write(2, `  ${printable(line)}\n`)
  }
  try {
    const parsed = parseArguments(script, argv)
    const about = aboutScript(script, parsed)
    if (about !== undefined) {
      if (parsed.flag('help')) caller.answered?.(helpJson(script))
      write(1, about)
      caller.end(0)
      return
    }
    const capture = parsed.value('capture')
    const machine = openMachine({
      root: parsed.value('root'),
      machine: parsed.value('machine'),
      record: capture !== undefined,
      lenient: script.isReadOnly?.(parsed) ?? false,
    })
    remarks = machine.remarks
    const finish = (result: Answer): void => {
      for (const remark of remarks()) say(remark)
      if (parsed.flag('verbose')) for (const table of machine.tables()) say(`looked things up in ${table}`)
      if (capture !== undefined) {
        writeTree('/', resolve(capture), captureTree(machine))
        say(`${capture}: everything that was read, with pseudonyms; attach it to a report, or read it with --machine`)
      }
      caller.answered?.(result.json)
      write(
        1,
        parsed.flag('json') ? jsonText(result.json) : result.text(caller.terminalStyle(parsed.flag('no-color'), 1)),
      )
      caller.end(result.code)
    }
    const result = answer({ arguments: parsed, machine, script, caller, warn: say })
    if (result instanceof Promise) result.then(finish).catch(fail)
    else finish(result)
  } catch (error) {
    fail(error)
  }
}

/** Returns the text of --help or --version; `undefined` where neither was given. */
function aboutScript(script: Script, given: Arguments): string | undefined {
  if (given.flag('help')) return given.flag('json') ? jsonText(helpJson(script)) : helpText(script)
  return given.flag('version') ? `${script.name} ${VERSION}\n` : undefined
}

/** Was JSON asked for? This is known even of arguments that cannot be parsed. */
function wantsJson(argv: readonly string[]): boolean {
  const at = argv.indexOf('--json')
  return at >= 0 && !argv.slice(0, at).includes('--')
}
