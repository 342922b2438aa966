import { addLine, hasLine, removeLine } from './modprobe.ts'
import { parseShell, type ShellStep } from './shell.ts'
import { type ArrayWord, parseArray, splitWords } from './shell-arrays.ts'

// Lists of words in bash files such as mkinitcpio.conf: `HOOKS=(base udev)`, and the older form `HOOKS="base udev"`.
// Texts are one character a byte.

/** One assignment of a list, and its words with their places. */
interface WordList {
  name: string
  append: boolean
  /** Is it in code that may or may not run? Then its words are not known. */
  conditional: boolean
  words: ArrayWord[]
  /** The place for the first word of an empty list, behind any comment; `undefined`: words cannot be put in. */
  inside: number | undefined
}

/** Are the words equal? `-` and `_` are the same, as in modules' names. */
const isSameWord = (one: string, other: string): boolean => one.replaceAll('-', '_') === other.replaceAll('-', '_')

/** Returns the words of a variable after bash has read the texts in order, without those that only bash could tell. */
export function wordsIn(texts: readonly string[], variable: string): string[] {
  const values = new Map<string, string[]>()
  for (const list of texts.flatMap((text) => listsOf(text))) {
    if (list.conditional) continue
    const words = list.words.flatMap(({ text }) => {
      const [, name] = /^\$\{?(\w+)(?:\[[@*]\])?\}?$/.exec(text) ?? []
      // A string with blanks among an array's elements is one element until mkinitcpio splits it.
      return name === undefined ? text.split(/\s+/).filter((word) => word !== '') : (values.get(name) ?? [])
    })
    values.set(list.name, list.append ? [...(values.get(list.name) ?? []), ...words] : words)
  }
  return values.get(variable) ?? []
}

/** Does the variable have this word after the file was read? */
export function hasWord(text: string, variable: string, word: string): boolean {
  return wordsIn([text], variable).some((one) => isSameWord(one, word))
}

/**
 * Returns the text with the word in the variable's last whole assignment: behind the word `after`, or at the end where
 * that is missing; without `after`, in front of all. Where no assignment can take it, a line at the end extends the
 * list; `posix`: a line that any shell can read.
 */
export function addWord(text: string, variable: string, word: string, after?: string, posix = false): string {
  if (hasWord(text, variable, word)) return text
  const list = listsOf(text)
    .filter(({ name, append }) => name === variable && !append)
    .at(-1)
  const { words = [], inside } = list ?? {}
  if (list === undefined || list.conditional || inside === undefined)
    return addLine(text, posix ? posixLine(variable, word) : arrayLine(variable, word, after))
  const [first] = words
  if (first === undefined) return insertAt(text, inside, word)
  if (after === undefined) return insertAt(text, first.start, `${word} `)
  const place = words.find((one) => isSameWord(one.text, after)) ?? words.at(-1) ?? first
  return insertAt(text, place.end, ` ${word}`)
}

/** Returns the text without the word. After `addWord` it is the old text, byte for byte. */
export function removeWord(text: string, variable: string, word: string): string {
  for (const line of [arrayLine(variable, word), arrayLine(variable, word, word), posixLine(variable, word)])
    if (hasLine(text, line)) return removeLine(text, line)
  for (const { words } of listsOf(text).filter(({ name, conditional }) => name === variable && !conditional)) {
    const index = words.findIndex((one) => isSameWord(one.text, word))
    const found = words[index]
    if (found === undefined) continue
    // The blank before it goes too; for the first word, that after it.
    const before = index > 0 && /[ \t]/.test(text[found.start - 1] ?? '')
    const behind = index === 0 && words.length > 1 && /[ \t]/.test(text[found.end] ?? '')
    return text.slice(0, found.start - Number(before)) + text.slice(found.end + Number(behind))
  }
  return text
}

/** Returns a line that extends a list, unquoted, so that an old string becomes words; with `after`, at its end. */
function arrayLine(variable: string, word: string, after?: string): string {
  const rest = `\${${variable}[@]}`
  return `${variable}=(${after === undefined ? `${word} ${rest}` : `${rest} ${word}`})`
}

function posixLine(variable: string, word: string): string {
  return `${variable}="${word} \${${variable}}"`
}

function insertAt(text: string, at: number, more: string): string {
  return text.slice(0, at) + more + text.slice(at)
}

function listsOf(text: string): WordList[] {
  return parseShell(text).steps.flatMap((step) => listsIn(text, step))
}

function listsIn(text: string, step: ShellStep): WordList[] {
  if (step.kind === 'code') {
    const names = [...step.text.matchAll(/(?<![\w$])([A-Za-z_]\w*)\+?=/g)].map(([, name = '']) => name)
    return names.map((name) => ({ name, append: false, conditional: true, words: [], inside: undefined }))
  }
  const { start, end } = step.value
  const base = { name: step.name, append: step.append, conditional: false }
  const array = text[start] === '(' ? parseArray(text, start) : undefined
  if (array !== undefined) return [{ ...base, words: array.words, inside: end - 1 }]
  const quoted = /^(["'])[^"'\\$`]*\1$/.test(text.slice(start, end))
  const words = quoted ? splitWords(text, start + 1, end - 1) : splitWords(text, start, end)
  return [{ ...base, words: words.map(stripQuotes), inside: quoted ? start + 1 : undefined }]
}

function stripQuotes(word: ArrayWord): ArrayWord {
  return { ...word, text: word.text.replace(/^["']|["']$/g, '') }
}
