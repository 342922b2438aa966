// Lines of a person's file that other lines replace. Texts are one character a byte.

/** Does the text have these whole lines, one below the other? `lines` ends without a newline. */
export function hasLines(text: string, lines: string): boolean {
  return findLines(text, lines) >= 0
}

/** Returns the text with the lines `to` in the place of the first lines `from`; unchanged where it has none. */
export function swapLines(text: string, from: string, to: string): string {
  const at = findLines(text, from)
  return at < 0 ? text : text.slice(0, at) + to + text.slice(at + from.length)
}

function findLines(text: string, lines: string): number {
  return `\n${text}\n`.indexOf(`\n${lines}\n`)
}
