import { parseCommandLine } from '../host/kernel.ts'
import { findArgumentRange, findInsertion, hasArgument, isListMember } from './kernel-arguments.ts'
import { ANY_TEXT, type Assignment, parseShell, type ShellStep, type ShellWord } from './shell.ts'

// Kernel arguments in a variable of shell files, such as GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub.

/** A shell file, one of several that are read one after another. */
export interface ShellFile {
  path: string
  text: string
}

/** A kernel argument that a file sets. */
export interface ConfiguredArgument {
  /** The argument as text; a part that only a shell could tell is one `ANY_TEXT`. */
  token: string
  /** The name with `-` as `_`. */
  name: string
  value: string | undefined
  /** The place of the assignment that it comes from. */
  file: string
  line: number
  variable: string
  /** Is the argument there, whatever the code around it does? */
  sure: boolean
  /** The boot entry that it is in, for a boot loader whose entries have command lines of their own. */
  entry?: string
}

/** A stretch of a variable's value. */
interface ValueSegment {
  text: string
  sure: boolean
  place: { file: string; line: number; variable: string }
}

/** Returns the kernel arguments in a variable after the files were read one after another. It is empty before. */
export function argumentsInVariable(files: readonly ShellFile[], variable: string): ConfiguredArgument[] {
  const parts = valueSegments(files, variable)
  const value = parts.map(({ text }) => text).join('')
  let from = 0
  return parseCommandLine(value).map((argument) => {
    const at = value.indexOf(argument.token, from)
    from = at + argument.token.length
    let end = 0
    // A part that touches the argument may continue it.
    const near = parts.filter(({ text }) => {
      end += text.length
      return end >= at && end - text.length <= from
    })
    const place = segmentAt(parts, at)?.place ?? { file: '', line: 0, variable }
    return { ...argument, ...place, sure: near.every(({ sure }) => sure) && !argument.token.includes(ANY_TEXT) }
  })
}

function segmentAt(parts: readonly ValueSegment[], at: number): ValueSegment | undefined {
  let end = 0
  return parts.find(({ text }) => {
    end += text.length
    return end > at
  })
}

function valueSegments(files: readonly ShellFile[], variable: string): ValueSegment[] {
  const values = new Map<string, ValueSegment[]>([[variable, []]])
  // The names in functions: any code behind them may call them.
  const called = new Set<string>()
  for (const { path, text } of files) {
    const { steps, broken } = parseShell(text)
    let sure = !broken
    const doubt = (names: Iterable<string>, line: number): void => {
      for (const name of names) {
        const nothing: ValueSegment = { text: '', sure: false, place: { file: path, line, variable: name } }
        values.set(name, [nothing, ...(values.get(name) ?? []).map(unsure), nothing])
      }
    }
    for (const step of steps) {
      if (step.kind === 'code') {
        const names = shellNamesIn(step.text)
        const isFunction = /\(\s*\)|\bfunction\b/.test(step.text)
        if (isFunction) for (const name of names) called.add(name)
        doubt([...names, ...called, ...(EVERYTHING.test(step.text) ? values.keys() : [])], step.line)
        if (ENDS.test(isFunction ? step.text.replace(/\b(return|local)\b/g, '') : step.text)) sure = false
        continue
      }
      const place = { file: path, line: step.line, variable: step.name }
      const parts = step.value.chars.flatMap((char): ValueSegment[] => {
        const known = char.name === undefined ? undefined : values.get(char.name)
        return known ?? [{ text: char.char, sure: char.char !== ANY_TEXT, place }]
      })
      for (const { char, name, start, end } of step.value.chars) {
        const inner = char === ANY_TEXT && name === undefined ? text.slice(start, end) : ''
        if (/=|\+\+|--/.test(inner) && /^\$(\{|\(\()/.test(inner)) doubt(shellNamesIn(inner), step.line)
      }
      const before = step.append ? (values.get(step.name) ?? [{ text: ANY_TEXT, sure: false, place }]) : []
      values.set(step.name, joined([...before, ...(sure ? parts : parts.map(unsure))]))
    }
  }
  return values.get(variable) ?? []
}

const unsure = (part: ValueSegment): ValueSegment => ({ ...part, sure: false })
const shellNamesIn = (code: string): Set<string> => new Set(code.match(/[A-Za-z_]\w*/g))

/** The pattern of code that may set any variable: it runs other code, or makes the variable's name while it runs. */
const EVERYTHING =
  /(?:^|[\s;&|({!])(?:(?:\.|source|eval)\s|(?:read|printf|export|unset|let|mapfile|readarray|getopts|local)\s.*[$`])/
/** The pattern of code that may end the file, or change what assignments do. */
const ENDS =
  /(?:^|[\s;&|({!])(?:exit|return|exec|set|shopt|declare|typeset|readonly|local|trap|break|continue)(?![\w-])/

/** Joins neighbouring parts of one assignment that are equally sure. */
function joined(parts: readonly ValueSegment[]): ValueSegment[] {
  const result: ValueSegment[] = []
  for (const part of parts) {
    const last = result.at(-1)
    if (last?.place === part.place && last.sure === part.sure)
      result.splice(-1, 1, { ...last, text: last.text + part.text })
    else result.push(part)
  }
  return result
}

/** Is the kernel argument certainly in the variable when only this file is read? */
export function isInVariable(text: string, variable: string, token: string): boolean {
  return hasArgument(sureLine(argumentsInVariable([{ path: '', text }], variable)), token)
}

/** Returns the arguments as a command line, with `ANY_TEXT` for each that is not certainly there. */
export function sureLine(tokens: readonly ConfiguredArgument[]): string {
  return tokens.map(({ token, sure }) => (sure ? token : ANY_TEXT)).join(' ')
}

/** Is the argument certainly there, in every boot entry? */
export function isConfigured(tokens: readonly ConfiguredArgument[], token: string): boolean {
  const entries = [...new Set(tokens.map(({ entry }) => entry))]
  const of = (entry: string | undefined): ConfiguredArgument[] => tokens.filter((one) => one.entry === entry)
  return entries.length > 0 && entries.every((entry) => hasArgument(sureLine(of(entry)), token))
}

/**
 * Returns the text with the kernel argument in an assignment of the variable, within its quotes: the one that holds its
 * list, else the last. Where the argument has no effect there, a line is added that extends the value set before; where
 * that has none either, the text is unchanged.
 */
export function addToVariable(text: string, variable: string, token: string): string {
  const assignments = assignmentsOf(text, variable).reverse()
  const name = token.replace(/=.*/s, '')
  const holding = assignments.filter(({ value }) => hasArgument(wordText(value), name))
  for (const { value } of [...holding, ...assignments]) {
    const place = findInsertion(wordText(value), token)
    const edited = place === undefined ? text : withText(text, value, place.at, place.text)
    // A quote directly behind ~ would make it a plain character.
    const tilde = text[value.end - 1] === '~'
    if (!tilde && isInVariable(edited, variable, token) && cutFromVariable(edited, variable, token) === text)
      return edited
  }
  // A second list would replace the first.
  if (isListMember(token) && holding.length > 0) return text
  const line = `${variable}="$${variable} ${escaped(token, '"')}"`
  const added = text === '' || text.endsWith('\n') ? `${text}${line}\n` : `${text}\n${line}`
  return isInVariable(added, variable, token) ? added : text
}

/** Returns the text without the kernel argument; a line that extends the value set before goes when it adds nothing. */
export function cutFromVariable(text: string, variable: string, token: string): string {
  for (const assignment of assignmentsOf(text, variable).reverse()) {
    const range = findArgumentRange(wordText(assignment.value), token)
    if (range === undefined) continue
    const edited = withoutChars(text, assignment.value, range)
    const line = `${variable}="$${variable}"`
    const from = assignment.at
    const [before, after] = [edited.slice(0, from), edited.slice(from + line.length)]
    if (!edited.startsWith(line, from) || !/(^|\n)$/.test(before) || !/^(\n|$)/.test(after)) return edited
    return after === '' ? before.replace(/\n$/, '') : before + after.slice(1)
  }
  return text
}

function assignmentsOf(text: string, variable: string): Assignment[] {
  const isOwn = (step: ShellStep): step is Assignment => step.kind === 'assignment' && step.name === variable
  return parseShell(text).steps.filter(isOwn)
}

function wordText({ chars }: ShellWord): string {
  return chars.map(({ char }) => char).join('')
}

/** Inserts text before a character of a word, within the quotes of the character before it. */
function withText(text: string, { start, chars }: ShellWord, at: number, more: string): string {
  const before = chars[at - 1]
  const first = /["']/.exec(text[start] ?? '')?.[0] ?? ''
  const [place, quote] = before === undefined ? [start + first.length, first] : [before.end, before.quote]
  const plain = /^[\w.,:=+/-]*$/.test(more)
  const added = quote !== '' ? escaped(more, quote) : plain ? more : `"${escaped(more, '"')}"`
  return text.slice(0, place) + added + text.slice(place)
}

function escaped(text: string, quote: string): string {
  return quote === '"' ? text.replace(/["$`\\]/g, '\\$&') : text.replaceAll("'", "'\\''")
}

/** Removes characters of a word, and the quotes around them that hold nothing else, unless these start the word. */
function withoutChars(text: string, { start, chars }: ShellWord, { from, to }: { from: number; to: number }): string {
  const gone = chars.slice(from, to)
  const [first, last] = [gone[0], gone.at(-1)]
  const edited = gone.reduceRight((rest, char) => rest.slice(0, char.start) + rest.slice(char.end), text)
  if (first === undefined || last === undefined || first.start - 1 <= start) return edited
  const own = first.quote === '"' && text[first.start - 1] === '"' && text[last.end] === '"'
  return own ? edited.slice(0, first.start - 1) + edited.slice(first.start + 1) : edited
}
