// A bash array as it stands in a text: `(one "two" three)`, over several lines, with comments.
// Source: bash(1), Arrays; Compound Commands.

/** A word of a text: its place, and its text without quotes. */
export interface ArrayWord {
  start: number
  end: number
  text: string
}

/** Returns the elements of the array whose bracket opens at `from`, and its end; `undefined` when it never closes. */
export function parseArray(text: string, from: number): { words: ArrayWord[]; end: number } | undefined {
  const words: ArrayWord[] = []
  for (let at = from + 1; at < text.length; ) {
    const char = text[at] ?? ''
    if (char === ')') return { words, end: at + 1 }
    if (char === '#') at = endOf(text, at, /[^\n]*/y)
    else if (/\s/.test(char)) at++
    else {
      const end = endOf(text, at, /(?:\\[\s\S]|'[^']*'|"(?:\\[\s\S]|[^"\\])*"|\$\([^)]*\)|\$\{[^}]*\}|[^\s\\'"()])+/y)
      // Text that is no word ends the array for bash too.
      if (end === at) return undefined
      words.push({ start: at, end, text: unquoted(text.slice(at, end)) })
      at = end
    }
  }
  return undefined
}

/** Returns the words between two places of a text, such as the inside of a quoted string, cut at blanks. */
export function splitWords(text: string, from: number, to: number): ArrayWord[] {
  return [...text.slice(from, to).matchAll(/\S+/g)].map((match) => {
    const start = from + (match.index ?? 0)
    return { start, end: start + match[0].length, text: match[0] }
  })
}

function endOf(text: string, from: number, pattern: RegExp): number {
  pattern.lastIndex = from
  return from + (pattern.exec(text)?.[0].length ?? 0)
}

function unquoted(word: string): string {
  return word.replace(/'([^']*)'|"((?:\\[\s\S]|[^"\\])*)"|\\([\s\S])/g, (_, single, double, escaped) =>
    String(single ?? double?.replace(/\\([$`"\\])/g, '$1') ?? escaped),
  )
}
