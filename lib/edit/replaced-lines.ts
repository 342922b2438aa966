// Lines of a person's file that come to say something else. Texts are one character a byte.

/** Do these whole lines stand in the text, one below the other? `lines` has no end of its last line. */
export function hasLines(text: string, lines: string): boolean {
  return findLines(text, lines) >= 0
}

/** The text with the lines `to` where `from` stood first; the same text where that does not stand. */
export function swapLines(text: string, from: string, to: string): string {
  const at = findLines(text, from)
  return at < 0 ? text : text.slice(0, at) + to + text.slice(at + from.length)
}

function findLines(text: string, lines: string): number {
  return `\n${text}\n`.indexOf(`\n${lines}\n`)
}
