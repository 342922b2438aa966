import { parseCommandLine } from '../host/kernel.ts'
import { addArgument, hasArgument, removeArgument } from './arguments.ts'
import { readArray } from './array.ts'

// Shell files that hold settings, such as /etc/default/grub: what is assigned where, and edits that touch nothing else.
// Texts are one character a byte. Source: POSIX.1-2017, Shell Command Language.

/** One `NAME=value` or `NAME+=value`. */
export interface Assignment {
  name: string
  append: boolean
  /** Where the value's word stands in the text. */
  start: number
  end: number
  line: number
  /** Does it stand within `if`, a loop, a function? Then it may or may not happen. */
  conditional: boolean
  /** What the word says, in order; `null`: only a shell could tell, or it is an array. */
  pieces: Piece[] | null
}

/** Text as it stands, or a variable's name. */
export type Piece = { text: string } | { name: string }

/**
 * The assignments that a shell makes when it reads the file. Those within `if`, loops, functions and the like may or
 * may not happen: their `pieces` are `null`.
 */
export function readAssignments(text: string): Assignment[] {
  const assignments: Assignment[] = []
  let depth = 0
  let at = 0
  while (at < text.length) {
    at = skip(text, at, /[ \t;&|\r\n]|\\\r?\n/y)
    if (text[at] === '#') at = skip(text, at, /[^\n]/y)
    else {
      const [found, end, word] = readCommand(text, at, depth > 0)
      if (/^(if|for|while|until|case|select|\{|\(|function)$/.test(word) || /\(\)\{?$/.test(word)) depth++
      else if (/^(fi|done|esac|\}|\))$/.test(word)) depth = Math.max(0, depth - 1)
      assignments.push(...found)
      at = Math.max(end, at + 1)
    }
  }
  return assignments
}

function skip(text: string, from: number, one: RegExp): number {
  let at = from
  for (;;) {
    one.lastIndex = at
    const [match] = one.exec(text) ?? []
    if (match === undefined) return at
    at += match.length
  }
}

/** A simple command: its assignments, where it ends, and its first word. Before a command they are not the shell's own. */
function readCommand(text: string, from: number, conditional: boolean): [Assignment[], number, string] {
  const found: Assignment[] = []
  let first = ''
  let at = from
  while (at < text.length && !/[;&|\n]/.test(text[at] ?? '')) {
    if (text[at] === '#') {
      at = skip(text, at, /[^\n]/y)
      break
    }
    const head = /([A-Za-z_]\w*)(\+?)=/y
    head.lastIndex = at
    const [matched = '', name = '', plus] = head.exec(text) ?? []
    const start = at + matched.length
    const array = matched !== '' && text[start] === '(' ? readArray(text, start) : undefined
    const { end, pieces } = array === undefined ? readWord(text, start) : afterArray(text, array.end)
    if (end === at) break
    const word = text.slice(at, end)
    if (matched !== '') {
      const line = text.slice(0, at).split('\n').length
      found.push({ name, append: plus === '+', start, end, line, conditional, pieces: conditional ? null : pieces })
    } else if (first === '' && word !== 'export') first = word
    const heredoc = /^\d?<<-?["'\\]?(\w+)/.exec(word)?.[1]
    at = heredoc === undefined ? skip(text, end, /[ \t\r]|\\\r?\n/y) : afterDocument(text, end, heredoc)
    // What follows these words is a command of its own.
    if (/^(if|then|else|elif|do|while|until|\{|\(|!)$/.test(word)) return [[], at, word]
  }
  return [first === '' ? found : [], at, first]
}

/** bash takes brackets for an array only when nothing is joined to them. */
function afterArray(text: string, end: number): { end: number; pieces: null } {
  return { end: skip(text, end, /[^ \t\n;&|]/y), pieces: null }
}

function afterDocument(text: string, from: number, delimiter: string): number {
  const end = new RegExp(`\\n\\t*${delimiter}(?=\\n|$)`, 'g')
  end.lastIndex = from
  return end.exec(text) === null ? text.length : end.lastIndex
}

/** A word with its quotes. Substitutions are stepped over and make it unknown. */
function readWord(text: string, from: number): { end: number; pieces: Piece[] | null } {
  const pieces: Piece[] = []
  let known = true
  let quote = ''
  let at = from
  const put = (more: string): void => {
    const last = pieces.at(-1)
    if (last !== undefined && 'text' in last) last.text += more
    else pieces.push({ text: more })
  }
  for (; at < text.length; at++) {
    const c = text[at] ?? ''
    const next = text[at + 1] ?? ''
    if (quote === "'") {
      if (c === "'") quote = ''
      else put(c)
    } else if (c === '\\') {
      at++
      if (next === '\n') continue
      put(quote === '"' && !/["$`\\]/.test(next) ? c + next : next)
    } else if (c === quote) quote = ''
    else if (quote === '' && (c === '"' || c === "'")) {
      quote = c
      put('')
    } else if (c === '$' && /[\w{(']/.test(next) && !(quote === '"' && next === "'")) {
      const name = /\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})/y
      name.lastIndex = at
      const [all, plain, braced] = name.exec(text) ?? []
      if (all === undefined) {
        known = false
        if (next === '{' || next === '(') at = closing(text, at + 1)
      } else {
        pieces.push({ name: plain ?? braced ?? '' })
        at += all.length - 1
      }
    } else if (c === '`') {
      known = false
      at = Math.max(at, text.indexOf('`', at + 1))
    } else if (quote === '' && /[\s;&|]/.test(c)) break
    else if (quote === '' && /[~*?[<>()]/.test(c)) {
      known = known && !/[~<>()]/.test(c)
      put(c)
    } else put(c)
  }
  return { end: Math.min(at, text.length), pieces: known && quote === '' ? pieces : null }
}

/** Where the bracket that opens at `from` is closed. */
function closing(text: string, from: number): number {
  const [open, close] = text[from] === '(' ? ['(', ')'] : ['{', '}']
  let depth = 0
  for (let at = from; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === open) depth++
    else if (text[at] === close && --depth === 0) return at
  }
  return text.length
}

/** A kernel argument as some file sets it. */
export interface SetArgument {
  token: string
  /** With `-` as `_`. */
  name: string
  value: string | undefined
  file: string
  line: number
}

/** A stretch of a value, and the assignment that it comes from. */
interface Part {
  text: string
  file: string
  line: number
}

/**
 * The kernel arguments in a variable after the files were read one after another, each with the file and line that it
 * comes from. What only a shell could tell is left out.
 */
export function tokensOf(files: readonly { path: string; text: string }[], variable: string): SetArgument[] {
  const values = new Map<string, Part[]>()
  for (const { path, text } of files) {
    for (const { name, append, pieces, line } of readAssignments(text)) {
      if (pieces === null) continue
      const parts = pieces.flatMap((piece) =>
        'text' in piece ? [{ text: piece.text, file: path, line }] : (values.get(piece.name) ?? []),
      )
      values.set(name, append ? [...(values.get(name) ?? []), ...parts] : parts)
    }
  }
  const parts = values.get(variable) ?? []
  const value = parts.map(({ text }) => text).join('')
  let from = 0
  return parseCommandLine(value).map((argument) => {
    from = value.indexOf(argument.token, from)
    let left = from
    const part = parts.find(({ text }) => {
      left -= text.length
      return left < 0
    })
    from += argument.token.length
    return { ...argument, file: part?.file ?? '', line: part?.line ?? 0 }
  })
}

/** Has the last assignment of the variable this kernel argument? */
export function hasToken(text: string, variable: string, token: string): boolean {
  const place = placeOf(text, variable, token)
  return place !== undefined && hasArgument(text.slice(place.start, place.end), token)
}

/**
 * Puts a kernel argument into the last assignment of the variable, within the quotes that are there. Without an
 * assignment a line is added: of a file of our own (`own`) it goes on from what other files say.
 */
export function addToken(text: string, variable: string, token: string, own: boolean): string {
  const place = placeOf(text, variable, token)
  if (place === undefined) {
    const newline = text === '' || text.endsWith('\n') ? '' : '\n'
    return `${text}${newline}${variable}="${own ? `$${variable} ` : ''}${token}"\n`
  }
  const inner = addArgument(text.slice(place.start, place.end), token)
  const value = place.quoted || !/\s/.test(inner) ? inner : `"${inner}"`
  return text.slice(0, place.start) + value + text.slice(place.end)
}

/** Takes a kernel argument out again; the line that goes on from other files goes when it adds nothing any more. */
export function removeToken(text: string, variable: string, token: string): string {
  const place = placeOf(text, variable, token)
  if (place === undefined) return text
  const inner = removeArgument(text.slice(place.start, place.end), token)
  const edited = text.slice(0, place.start) + inner + text.slice(place.end)
  const empty = new RegExp(`^${variable}="\\$${variable}"\\n`, 'm')
  return inner === `$${variable}` ? edited.replace(empty, '') : edited
}

/**
 * Where a kernel argument goes: within the quotes of the assignment that has its list already, else of the last. Of
 * several quoted pieces the last one, or the one that has it.
 */
function placeOf(
  text: string,
  variable: string,
  token: string,
): { start: number; end: number; quoted: boolean } | undefined {
  const assignments = readAssignments(text).filter(({ name }) => name === variable)
  const places = assignments.flatMap(({ start, end }) => {
    const word = text.slice(start, end)
    const quotes = [...word.matchAll(/"((?:[^"\\]|\\[\s\S])*)"|'([^']*)'/g)].map((match) => {
      const from = start + (match.index ?? 0) + 1
      return { start: from, end: from + match[0].length - 2, quoted: true }
    })
    return quotes.length > 0 ? quotes : [{ start, end, quoted: false }]
  })
  const name = (token.split('=')[0] ?? '').replaceAll('-', '_')
  const holding = places.filter(
    ({ start, end }) => hasArgument(text.slice(start, end), name) || hasArgument(text.slice(start, end), token),
  )
  return holding.at(-1) ?? places.at(-1)
}
