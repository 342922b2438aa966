import { printable, shorten } from './text.ts'

/** Where progress is shown: the last line of a terminal. */
export interface ProgressLine {
  /** The terminal's width in columns; `undefined`: there is none, and nothing is shown. */
  columns: () => number | undefined
  write: (text: string) => void
}

/** Back to the start of the line, and what stands there goes. */
const CLEAR = '\r\u001b[K'

let line: ProgressLine | undefined
/** What is being done, the innermost last, and since when (milliseconds). */
const doing: { what: string; began: number }[] = []
let timer: NodeJS.Timeout | undefined
let shown = false

/** Sets where progress is shown from now on; `undefined`: nowhere. */
export function showProgressOn(place: ProgressLine | undefined): void {
  line = place
}

/** Takes the line of progress away, before something else is written; with the next second it comes again. */
export function clearProgress(): void {
  if (shown) line?.write(CLEAR)
  shown = false
}

/** Does that work; while it takes longer than a second, a terminal shows `what` and the seconds: `update-grub … 12 s`. */
export async function withProgress<T>(what: string, work: () => Promise<T>): Promise<T> {
  if (line === undefined) return work()
  doing.push({ what, began: Date.now() })
  timer ??= setInterval(showProgress, 1000)
  try {
    return await work()
  } finally {
    doing.pop()
    clearProgress()
    if (doing.length === 0) {
      clearInterval(timer)
      timer = undefined
    }
  }
}

function showProgress(): void {
  const columns = line?.columns()
  const last = doing.at(-1)
  if (columns === undefined || last === undefined) return
  const seconds = Math.floor((Date.now() - last.began) / 1000)
  if (seconds < 1) return
  const end = ` … ${seconds} s`
  // The last column stays free: some terminals go on to the next line there.
  line?.write(`${CLEAR}${shorten(printable(last.what), Math.max(1, columns - 1 - end.length))}${end}`)
  shown = true
}
