// The certain assignments of shell files that hold settings, such as /etc/default/grub. Texts are one character a byte.
// Nothing is guessed: all but plain assignments is code, and may do anything to the variables that it names.
// Source: POSIX.1-2017, Shell Command Language; bash(1).

import { parseArray } from './shell-arrays.ts'

/** One step of a shell file, in the order in which a shell reads them. */
export type ShellStep = Assignment | { kind: 'code'; text: string; line: number }

/** One `NAME=value` or `NAME+=value` that is always made. */
export interface Assignment {
  kind: 'assignment'
  name: string
  append: boolean
  /** The place in the text at which it starts. */
  at: number
  line: number
  value: ShellWord
}

export interface ShellWord {
  start: number
  end: number
  chars: ShellChar[]
}

/** A character of a word without its quotes, and its place in the text. */
interface ShellChar {
  /** The character; `ANY_TEXT` for a variable or a substitution. */
  char: string
  start: number
  end: number
  /** The kind of quotes around it. */
  quote: '' | '"' | "'"
  /** The variable's name for `$NAME` and `${NAME}`. */
  name?: string
}

/** The character that stands for any text; no byte is this character. */
export const ANY_TEXT = '\uffff'

/** Returns the steps of a shell file. `broken`: a shell would not run it to its end, or a step has no clear end. */
export function parseShell(text: string): { steps: ShellStep[]; broken: boolean } {
  const steps: ShellStep[] = []
  for (let at = skipBlanks(text, 0, true); at < text.length; at = skipBlanks(text, at, true)) {
    const simple = parseAssignments(text, at)
    const end = simple?.end ?? codeEnd(text, at)
    if (simple !== undefined) steps.push(...simple.assignments)
    else steps.push({ kind: 'code', text: text.slice(at, end), line: lineNumberAt(text, at) })
    if (end === undefined) return { steps, broken: true }
    at = end
  }
  return { steps, broken: false }
}

/** Returns the place behind blanks, continuations and, with `lines`, comments and newlines. */
function skipBlanks(text: string, from: number, lines: boolean): number {
  const pattern = lines ? /(?:[ \t\n]|\\\n|#[^\n]*)*/y : /(?:[ \t]|\\\n)*/y
  pattern.lastIndex = from
  return from + (pattern.exec(text)?.[0].length ?? 0)
}

function lineNumberAt(text: string, at: number): number {
  return text.slice(0, at).split('\n').length
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | undefined {
  const sticky = new RegExp(pattern, 'y')
  sticky.lastIndex = at
  return sticky.exec(text) ?? undefined
}

/** Reads a command that is only assignments; `undefined` for any other. */
function parseAssignments(text: string, from: number): { assignments: Assignment[]; end: number } | undefined {
  const assignments: Assignment[] = []
  const exported = matchAt(/export[ \t]+(?=\w)/, text, from)?.[0]
  for (let at = from + (exported?.length ?? 0); ; ) {
    at = skipBlanks(text, at, false)
    if (at >= text.length || /[\n#]/.test(text[at] ?? '')) return { assignments, end: at }
    if (matchAt(/;(?![;&])/, text, at)) return { assignments, end: at + 1 }
    const [head, name, plus] = matchAt(/([A-Za-z_]\w*)(\+?)=/, text, at) ?? []
    if (head === undefined || name === undefined) {
      const other = exported === undefined ? undefined : matchAt(/[A-Za-z_]\w*(?=[ \t\n;]|$)/, text, at)
      if (other === undefined) return undefined
      at += other[0].length
      continue
    }
    const value =
      text[at + head.length] === '(' ? parseArrayValue(text, at + head.length) : parseShellWord(text, at + head.length)
    // After `export`, shells differ in what they expand.
    if (value === undefined || (exported && !PLAIN.test(text.slice(value.start, value.end)))) return undefined
    assignments.push({ kind: 'assignment', name, append: plus === '+', at, line: lineNumberAt(text, at), value })
    at = value.end
  }
}

/** Reads a bash array as one `ANY_TEXT`: `parseArray` knows its words. `undefined` when text touches its end. */
function parseArrayValue(text: string, start: number): ShellWord | undefined {
  const end = parseArray(text, start)?.end
  if (end === undefined || !/^$|[ \t\n;]/.test(text[end] ?? '')) return undefined
  return { start, end, chars: [{ char: ANY_TEXT, start, end, quote: '' }] }
}

const PLAIN = /^("[^"\\]*"|'[^']*'|[\w.,:/=+-]*)$/

/** Reads a word with its quotes; `undefined` when it has no end, or none that is certain. */
function parseShellWord(text: string, from: number): ShellWord | undefined {
  const chars: ShellChar[] = []
  let quote: ShellChar['quote'] = ''
  let at = from
  while (quote !== '' || (at < text.length && !/[ \t\n;&|<>()]/.test(text[at] ?? ''))) {
    const [start, char, next] = [at, text[at], text[at + 1]]
    if (char === undefined || (char === '\\' && next === undefined)) return undefined
    at++
    if (char === quote) quote = ''
    else if (quote === "'") chars.push({ char, start, end: at, quote })
    else if (quote === '' && (char === '"' || char === "'")) quote = char
    else if (char === '\\') {
      // Between double quotes, a backslash stays before most characters.
      if (quote === '"' && !/["$`\\\n]/.test(next ?? '')) chars.push({ char, start, end: at, quote })
      else if (next !== '\n') chars.push({ char: next ?? '', start, end: ++at, quote })
      else at++
    } else if (
      char === '`' ||
      (char === '$' && matchAt(quote === '"' ? /[\w{(@*#?$!-]/ : /[\w{(@*#?$!'"[-]/, text, at))
    ) {
      const end = substitutionEnd(text, start)
      if (end === undefined) return undefined
      const [, plain, braced] = /^\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})$/.exec(text.slice(start, end)) ?? []
      const name = plain ?? braced
      chars.push({ char: ANY_TEXT, start, end, quote, ...(name === undefined ? {} : { name }) })
      at = end
    } else
      chars.push({ char: (quote === '' && char === '~') || char === '\0' ? ANY_TEXT : char, start, end: at, quote })
  }
  return { start: from, end: at, chars }
}

/** Returns the end of the substitution that starts here; `undefined` for one with code that is not understood. */
function substitutionEnd(text: string, start: number): number | undefined {
  const plain = matchAt(/\$(?:[A-Za-z_]\w*|[\d@*#?$!-])/, text, start)
  if (plain !== undefined) return start + plain[0].length
  const end = /['"[]/.test(text[start + 1] ?? '') && text[start] === '$' ? undefined : skipQuoted(text, start)
  const inner = text.slice(start, end)
  return end === undefined || /<<|\bcase\b|[\s(;]#|^\$\{[^}]*['"\\`]/.test(inner) ? undefined : end
}

/** Returns the end of what starts here: a quoted stretch, a substitution, a bracket, or one character. */
function skipQuoted(text: string, at: number): number | undefined {
  const char = text[at] ?? ''
  if (char === '\\') return at + 2
  if (char === "'") return text.indexOf("'", at + 1) + 1 || undefined
  if (/["`(]/.test(char)) return skipToClose(text, at + 1, char === '(' ? ')' : char)
  const open = char === '$' ? text[at + 1] : undefined
  if (open === '(' || open === '{') return skipToClose(text, at + 2, open === '(' ? ')' : '}')
  return at + 1
}

function skipToClose(text: string, from: number, close: string): number | undefined {
  let at: number | undefined = from
  while (at !== undefined && at < text.length) {
    const char: string = text[at] ?? ''
    if (char === close) return at + 1
    // Between double quotes, ' and ( are plain characters; between backquotes, all but \ are.
    at = (close === '"' && /['(]/.test(char)) || (close === '`' && char !== '\\') ? at + 1 : skipQuoted(text, at)
  }
  return undefined
}

const CLOSES: Readonly<Record<string, string>> = { if: 'fi', while: 'done', until: 'done', '{': '}', '[[': ']]' }

/** Returns the end of the whole command that starts here; `undefined` when it is not certain. */
function codeEnd(text: string, from: number): number | undefined {
  // The words that close the open constructs; for `case`: `case` before a pattern, `clause` behind it.
  const open: string[] = []
  const documents: { end: string; tabs: boolean }[] = []
  let command = true
  let more = false
  for (let at = from; ; ) {
    at = skipBlanks(text, at, false)
    const char = text[at]
    const top = open.at(-1)
    const operator = matchAt(/;;&|;;|;&|&&|\|\||\|&|<<<|<<-?|&>>?|[<>]\(|[<>]&|>>|<>|>\||[;&|<>()\n#]/, text, at)?.[0]
    if (char === undefined) return open.length === 0 && documents.length === 0 && !more ? at : undefined
    if (operator === undefined) {
      const word = parseShellWord(text, at)
      if (word === undefined || word.end === at) return undefined
      const raw = text.slice(word.start, word.end)
      at = word.end
      more = false
      if (raw === top && (command || top === ']]')) open.pop()
      else if (raw === 'esac' && top === 'case') open.pop()
      else if (raw === 'esac' && command && top === 'clause') open.splice(-2)
      else if (top === 'case') continue
      else if (command && /^(fi|done|esac|\}|in)$/.test(raw)) return undefined
      else if (command && /^(then|else|elif|do|!|time)$/.test(raw)) continue
      else if (command && CLOSES[raw] !== undefined) {
        open.push(CLOSES[raw] ?? '')
        if (raw !== '[[') continue
      } else if (command && /^(for|select)$/.test(raw)) open.push('done')
      else if (command && raw === 'case') open.push('case')
      else if (command && raw === 'function') {
        at = parseShellWord(text, skipBlanks(text, at, false))?.end ?? at
        more = true
        continue
      }
      command = false
      continue
    }
    at += operator.length
    if (operator === '#') at = text.indexOf('\n', at) < 0 ? text.length : text.indexOf('\n', at)
    else if (operator === '\n') {
      for (const { end, tabs } of documents.splice(0)) {
        const line = matchAt(new RegExp(`(?:.*\\n)*?${tabs ? '\\t*' : ''}${end}(?:\\n|$)`), text, at)
        if (line === undefined) return undefined
        at += line[0].length
      }
      if (open.length === 0 && !more) return at
      command = true
    } else if (/^<<-?$/.test(operator)) {
      const word = parseShellWord(text, skipBlanks(text, at, false))
      const end = word?.chars.map((each) => each.char).join('')
      if (word === undefined || !end || !/^\w+$/.test(end)) return undefined
      documents.push({ end, tabs: operator === '<<-' })
      at = word.end
    } else if (/^[<>]\($|^\($/.test(operator) && top !== 'case') {
      const arithmetic = command && operator === '(' && text[at] === '('
      if (arithmetic || operator !== '(') {
        const end = skipToClose(text, at, ')')
        if (end === undefined) return undefined
        at = end
        command = false
      } else {
        open.push(command || text[at - 2] === '=' ? ')' : '()')
        command = true
      }
    } else if (operator === ')') {
      if (top === 'case') open.push('clause')
      else if (top === ')' || top === '()') open.pop()
      else return undefined
      // After `()`, the body of a function follows.
      more = top === '()'
      command = top !== ')'
    } else if (/^[<>]|^&>/.test(operator)) {
      const word = parseShellWord(text, skipBlanks(text, at, false))
      if (word === undefined || word.end === word.start) return undefined
      at = word.end
    } else if (operator !== '(' && !(operator === '|' && top === 'case')) {
      if (command && !(top === 'clause' && operator.startsWith(';;'))) return undefined
      if (/^;[;&]/.test(operator) && open.pop() !== 'clause') return undefined
      if (/^[;&]$/.test(operator) && open.length === 0) return at
      more = /^[&|]{2}$|^\|/.test(operator)
      command = top !== ']]'
    }
  }
}
