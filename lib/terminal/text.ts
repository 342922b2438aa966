/** Text for terminals: nothing that came from a machine may move the cursor, hide, or turn text round. */

// C0 and C1 controls, DEL, line and paragraph separators, bidirectional and other invisible format characters, and the
// noncharacters that XML forbids.
const UNSAFE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff]/g

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Returns a string as it may be printed: unsafe characters become `\u001b` and the like. */
export function printable(text: string): string {
  return /^[ -~]*$/.test(text) ? text : text.replace(UNSAFE, escapeCharacter)
}

/** Returns one JSON document that is safe to print: the same value, with unsafe characters as JSON escapes. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2).replace(UNSAFE, (character) => (character === '\n' ? character : escapeCharacter(character)))}\n`
}

export type Color = 'bold' | 'dim' | 'red' | 'green' | 'yellow' | 'blue' | 'magenta' | 'cyan'
const CODES: Record<Color, number> = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
}

/** The style of output: with colours or not, and the number of columns (`undefined`: not a terminal, no limit). */
export interface TerminalStyle {
  color: boolean
  columns: number | undefined
}

/** Returns the text in a colour, where the style has colours. */
export function paint(style: TerminalStyle, color: Color | undefined, text: string): string {
  return style.color && color !== undefined && text !== '' ? `\u001b[${CODES[color]}m${text}\u001b[0m` : text
}

/** Cuts a text to `width` columns with an ellipsis. */
export function shorten(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}

export interface Column {
  title: string
  align?: 'right'
  /** The width to which the column may shrink when the terminal is narrow. */
  least?: number
  /** The width below which it shrinks only after other columns were left out. */
  want?: number
  /** The order in which columns are left out when shrinking is not enough: the highest number first. */
  drop?: number
}

export interface Cell {
  text: string
  color?: Color | undefined
}

/**
 * Returns a table with a title line, two spaces between columns, no trailing blanks. On a terminal it fits the width:
 * columns with `least` are cut, columns with `drop` left out. Elsewhere nothing is cut.
 */
export function table(style: TerminalStyle, columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  const titles = columns.map(({ title }): Cell => ({ text: title, color: 'dim' }))
  const lines = [titles, ...rows].map((cells) => columns.map((_, index) => printable(cells[index]?.text ?? '')))
  const widths = columns.map((_, index) =>
    lines.reduce((widest, line) => Math.max(widest, line[index]?.length ?? 0), 0),
  )
  const all = columns.map((_, index) => index)
  const shown = style.columns === undefined ? all : fitColumns(style.columns, columns, widths, all)
  let text = ''
  lines.forEach((line, number) => {
    const cells = number === 0 ? titles : (rows[number - 1] ?? [])
    let printed = ''
    for (const index of shown) {
      const width = widths[index] ?? 0
      const cut = shorten(line[index] ?? '', width)
      const blanks = ' '.repeat(width - cut.length)
      const painted = paint(style, cells[index]?.color, cut)
      printed += `${columns[index]?.align === 'right' ? blanks + painted : painted + blanks}  `
    }
    text += `${printed.trimEnd()}\n`
  })
  return text
}

/**
 * Returns the columns to show: leaves out and shrinks (in `widths`) until the line fits, or nothing more can give way.
 */
function fitColumns(limit: number, columns: readonly Column[], widths: number[], all: readonly number[]): number[] {
  let shown = [...all]
  const excess = (): number => shown.reduce((sum, index) => sum + (widths[index] ?? 0) + 2, -2) - limit
  const spare = (index: number): number => {
    const { least = Number.POSITIVE_INFINITY, want = least } = columns[index] ?? {}
    return Math.max(0, (widths[index] ?? 0) - want)
  }
  while (excess() > shown.reduce((sum, index) => sum + spare(index), 0)) {
    const drops = shown.map((index) => columns[index]?.drop ?? 0)
    const highest = Math.max(...drops)
    if (highest === 0) break
    shown = shown.filter((_, place) => place !== drops.indexOf(highest))
  }
  const widest = [...shown].sort((one, other) => (widths[other] ?? 0) - (widths[one] ?? 0))
  for (const floor of ['want', 'least'] as const) {
    for (const index of widest) {
      const to = columns[index]?.[floor] ?? columns[index]?.least
      if (to !== undefined)
        widths[index] = Math.min(widths[index] ?? 0, Math.max(to, (widths[index] ?? 0) - Math.max(0, excess())))
    }
  }
  return shown
}
