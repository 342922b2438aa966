import minimist from 'minimist'
import { UserError } from '../core/error.ts'

/** One row of a script's option table. A `flag` takes no value, a `value` takes one, a `list` may be repeated. */
export interface Option {
  name: string
  /** The one letter that stands for it: `h`. */
  short?: string
  kind: 'flag' | 'value' | 'list'
  /** The name of the value in `--help`: `DIR`. */
  value?: string
  /** May the value be left out? It is an empty text then. */
  optional?: true
  /** The only values that are allowed. */
  choices?: readonly string[]
  /** Why another value is refused, where there is more to say than the choices; `undefined`: it is taken. */
  refusal?: (value: string) => string | undefined
  help: string
}

export interface Script {
  name: string
  /** The purpose of the script, in one sentence. */
  summary: string
  /** The name of the positional arguments (`DEVICE`); without it none are taken. */
  operands?: string
  options: readonly Option[]
  /**
   * Does the script only look, when called so? Then what may not be read is unknown, and the rest goes on; a plan
   * stops.
   */
  isReadOnly?(given: Arguments): boolean
  /** The meanings of the exit codes in this script. */
  exits: readonly [zero: string, one: string, two: string]
  examples: readonly [command: string, what: string][]
}

export interface Arguments {
  flag(name: string): boolean
  value(name: string): string | undefined
  list(name: string): readonly string[]
  operands: readonly string[]
}

/** The options that every script has. */
const COMMON_OPTIONS: readonly Option[] = [
  { name: 'json', kind: 'flag', help: 'print one JSON document' },
  { name: 'root', kind: 'value', value: 'DIR', help: 'the system to look at (default /)' },
  { name: 'machine', kind: 'value', value: 'DIR', help: 'a captured machine to use instead of the one under --root' },
  { name: 'verbose', kind: 'flag', help: 'say more: long files of a plan as a whole, which databases were used' },
  { name: 'no-color', kind: 'flag', help: 'no colours (as NO_COLOR in the environment)' },
  { name: 'help', short: 'h', kind: 'flag', help: 'print this help' },
  { name: 'version', kind: 'flag', help: 'print the version' },
]

/** An error of the person's, told in one line; nothing was written. */
export function usageError(message: string): UserError {
  return new UserError('usage', message)
}

/**
 * Parses arguments by a script's table. minimist does the reading; what it would take in silence is refused first:
 * unknown options, a value for a flag (`--apply=no`), a missing or empty value, an option given twice, `--__proto__`.
 * Throws a UserError with code `usage`.
 */
export function parseArguments(script: Script, typed: readonly string[]): Arguments {
  const table = new Map([...script.options, ...COMMON_OPTIONS].map((option) => [option.name, option]))
  const argv = withLongNames(table, typed)
  const given = checkArguments(table, argv)
  const names = (...kinds: string[]): string[] =>
    [...given].filter((name) => kinds.includes(table.get(name)?.kind ?? ''))
  const parsed = minimist([...argv], { boolean: names('flag'), string: ['_', ...names('value', 'list')] })
  const operands = parsed._ as string[]
  if (script.operands === undefined && operands.length > 0)
    throw usageError(`${operands[0]}: no argument is expected here`)
  const list = (name: string): string[] => {
    const value: unknown = parsed[name]
    return value === undefined ? [] : [value].flat().map(String)
  }
  return {
    // minimist reads --no-color as color=false.
    flag: (name) => (name.startsWith('no-') ? parsed[name.slice(3)] === false : parsed[name] === true),
    value: (name) => list(name)[0],
    list,
    operands,
  }
}

/** Returns the arguments with `-h` as `--help`; what follows `--` is no option. */
function withLongNames(table: ReadonlyMap<string, Option>, typed: readonly string[]): string[] {
  const names = new Map(
    [...table.values()].flatMap(({ short, name }) => (short === undefined ? [] : [[`-${short}`, name]])),
  )
  const end = typed.indexOf('--')
  return typed.map((word, at) => {
    const name = end >= 0 && at > end ? undefined : names.get(word)
    return name === undefined ? word : `--${name}`
  })
}

/** Refuses wrong arguments and returns the names of the options that are given. */
function checkArguments(table: ReadonlyMap<string, Option>, argv: readonly string[]): Set<string> {
  const given = new Set<string>()
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index] ?? ''
    if (argument === '--') break
    if (!argument.startsWith('-') || argument === '-') {
      if (argument === '') throw usageError('an empty argument was given')
      continue
    }
    const [, name = '', inline] = /^--([^=]+)(?:=([\s\S]*))?$/.exec(argument) ?? []
    const option = table.get(name)
    if (option === undefined) throw usageError(`${argument}: no such option${suggestion(table, name)}`)
    if (given.has(name) && option.kind === 'value') throw usageError(`--${name}: given twice`)
    given.add(name)
    if (option.kind === 'flag') {
      if (inline !== undefined) throw usageError(`--${name} takes no value: ${argument}`)
      // minimist would take these two as the flag's value.
      const following = argv[index + 1]
      if (following === 'true' || following === 'false')
        throw usageError(`--${name} takes no value: --${name} ${following}`)
      continue
    }
    const next = argv[index + 1]
    if (option.optional && inline === undefined && (next === undefined || next.startsWith('--'))) continue
    const value = inline ?? argv[++index]
    // `-` alone is standard input, where a file may be named.
    if (value === undefined || value === '' || (inline === undefined && value !== '-' && value.startsWith('-'))) {
      throw usageError(`--${name} needs a value: --${name} ${option.value ?? 'VALUE'}`)
    }
    const refusal = refusalOf(option, value)
    if (refusal !== undefined) throw usageError(`--${name} ${value}: ${refusal}`)
  }
  return given
}

function refusalOf({ choices, refusal }: Option, value: string): string | undefined {
  if (refusal !== undefined) return refusal(value)
  return choices === undefined || choices.includes(value) ? undefined : `must be one of ${choices.join(', ')}`
}

function suggestion(table: ReadonlyMap<string, Option>, name: string): string {
  const near = [...table.keys()].find((known) => name.length > 2 && (known.startsWith(name) || name.startsWith(known)))
  return near === undefined ? ' (--help lists them)' : `; did you mean --${near}?`
}

/**
 * Returns the format that was asked for (default `table`). `others` name flags that are ways of printing too: one at a
 * time. Throws a UserError with code `usage`.
 */
export function formatFrom(given: Arguments, ...others: string[]): string {
  const format = given.value('format')
  const rivals = ['json', ...others].filter((name) => format !== undefined && given.flag(name))
  if (rivals.length > 0) throw usageError(`--${rivals[0]} and --format: choose one`)
  return format ?? 'table'
}

/** The value that `--help --json` prints: all that `--help` says. */
export interface HelpDocument extends Omit<Script, 'isReadOnly'> {
  schema: 'vfio-scripts/help/1'
}

/** Returns what `--help --json` prints. Shell completions and manual pages are made from it. */
export function helpJson(script: Script): HelpDocument {
  return { schema: 'vfio-scripts/help/1', ...script, options: [...script.options, ...COMMON_OPTIONS] }
}

/** Returns the text of `--help`: usage, every option, exit codes, examples. */
export function helpText(script: Script): string {
  const rows = [...script.options, ...COMMON_OPTIONS].map((option) => {
    const named = option.value ?? (option.choices === undefined ? 'VALUE' : 'NAME')
    const value = option.optional ? `[${named}]` : named
    const names = `${option.short === undefined ? '' : `-${option.short}, `}--${option.name}`
    return [option.kind === 'flag' ? names : `${names} ${value}`, helpOf(option)] as const
  })
  const width = Math.max(...rows.map(([left]) => left.length))
  return [
    `Usage: ${script.name} [OPTION]…${script.operands === undefined ? '' : ` [${script.operands}]…`}`,
    '',
    script.summary,
    '',
    'Options:',
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`),
    '',
    'Exit codes:',
    ...script.exits.map((meaning, code) => `  ${code}  ${meaning}`),
    '',
    'Examples:',
    ...script.examples.flatMap(([command, what]) => [`  ${command}`, `      ${what}`]),
    '',
  ].join('\n')
}

function helpOf(option: Option): string {
  return option.choices === undefined ? option.help : `${option.help}: ${option.choices.join(', ')}`
}
