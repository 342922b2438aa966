import { fileURLToPath } from 'node:url'
import { captureTree } from '../host/capture.ts'
import { type Machine, openMachine } from '../host/machine.ts'
import { sameFile } from '../host/rooted.ts'
import { writeTree } from '../plan/write.ts'
import { UserError } from './error.ts'
import { type Arguments, helpJson, helpText, parseArguments, type Script } from './options.ts'
import { look, write } from './output.ts'
import { jsonText, type Look, printable } from './text.ts'
import { VERSION } from './version.ts'

/** What a script answers: the exit code, the value for `--json`, and the same value for people. */
export interface Answer {
  /** 0: done, nothing to do, healthy. 1: the answer is no. */
  code: 0 | 1
  json: { schema: string }
  text: (look: Look) => string
}

export interface Context {
  arguments: Arguments
  machine: Machine
  script: Script
  /** The script's own file, for commands that name it. */
  self: string
  /** A line on standard error. */
  warn: (message: string) => void
}

/**
 * Runs a script: parses, answers, prints, sets the exit code. `self` is the entry's `import.meta.url`.
 * A script that only reads answers at once; one that runs programs gives a promise.
 */
export function run(script: Script, self: string, answer: (context: Context) => Answer | Promise<Answer>): void {
  const argv = ownArguments(self)
  const say = (message: string): void => write(2, `${script.name}: ${printable(message)}\n`)
  let remarks = (): string[] => []
  const fail = (error: unknown): void => {
    process.exitCode = 2
    if (!(error instanceof UserError)) throw error
    const { code, details } = error
    const message = code === 'denied' ? `${error.message}: run as root` : error.message
    for (const remark of remarks()) if (!remark.startsWith(error.message)) say(remark)
    if (wantsJson(argv) && code !== 'no-output') {
      const found = details.length > 0 ? { code, message, details } : { code, message }
      write(1, jsonText({ schema: 'vfio-scripts/error/1', error: found }))
    }
    say(message)
    for (const line of details) write(2, `  ${printable(line)}\n`)
  }
  try {
    const parsed = parseArguments(script, argv)
    if (parsed.flag('help')) write(1, parsed.flag('json') ? jsonText(helpJson(script)) : helpText(script))
    else if (parsed.flag('version')) write(1, `${script.name} ${VERSION}\n`)
    else {
      const capture = parsed.value('capture')
      const machine = openMachine({
        root: parsed.value('root'),
        machine: parsed.value('machine'),
        record: capture !== undefined,
        lenient: script.looks?.(parsed) ?? false,
      })
      remarks = machine.remarks
      const finish = (result: Answer): void => {
        for (const remark of remarks()) say(remark)
        if (parsed.flag('verbose')) for (const table of machine.tables()) say(`looked things up in ${table}`)
        if (capture !== undefined) {
          writeTree(capture, captureTree(machine))
          say(`${capture}: everything that was read, with pseudonyms; attach it to a report, or read it with --machine`)
        }
        write(1, parsed.flag('json') ? jsonText(result.json) : result.text(look(parsed.flag('no-color'))))
        process.exitCode = result.code
      }
      const result = answer({ arguments: parsed, machine, script, self: fileURLToPath(self), warn: say })
      if (result instanceof Promise) result.then(finish).catch(fail)
      else finish(result)
    }
  } catch (error) {
    fail(error)
  }
}

/** Was JSON asked for? Also of arguments that cannot be parsed. */
function wantsJson(argv: readonly string[]): boolean {
  const at = argv.indexOf('--json')
  return at >= 0 && !argv.slice(0, at).includes('--')
}

/** Under `zx script.mjs …` the script's own path stands somewhere inside argv; what follows it is ours. */
function ownArguments(self: string): string[] {
  const at = process.argv.findIndex((argument, index) => index > 0 && sameFile(argument, fileURLToPath(self)))
  return process.argv.slice(at < 0 ? 2 : at + 1)
}
