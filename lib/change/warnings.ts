// What a program says while it works, and yet ends with 0.

/** `W: …`, `dracut[W]: …`, `==> WARNING: …`, `Warning: …`; no sum such as `0 errors`. */
const WARNING = /\b([Ww]arn(ing)?|[Ee]rror)\b\s*:|\b(WARN(ING)?|ERROR)\b|^[WE]: |\[[WE]\]/
/** What nothing here depends on, and some print at every run: other systems' entries, firmware of absent hardware. */
const NOISE = /\bos-prober\b|\bpossibl[ey] missing firmware\b/i
/** mkinitcpio: `==> WARNING: errors were encountered during the build. The image may not be complete.` */
const INCOMPLETE = /\berrors were encountered\b|\bmay not be complete\b/i
const SKIPPED = /\bskipp(ed|ing)\b/i

/** How many of them a person is shown: a generator may have a hundred. */
const MOST = 4
/** How many characters of the command stand before each. */
const LONG = 60

/** Returns the lines by which a program warns, each once. */
export function warningLines(output: string): string[] {
  return linesLike(output, WARNING).filter((line) => !NOISE.test(line))
}

/** Returns the lines by which a program says that it left something out, each once; many programs do so as a rule. */
export function skippedLines(output: string): string[] {
  return linesLike(output, SKIPPED)
}

/** Returns the lines by which a program says that what it made is not whole, each once. */
export function incompleteLines(output: string): string[] {
  return linesLike(output, INCOMPLETE)
}

function linesLike(output: string, pattern: RegExp): string[] {
  const lines = output.split(/[\r\n]+/).map((line) => line.trim())
  return [...new Set(lines.filter((line) => pattern.test(line)))]
}

/** Returns what a person is told of a program that warned; none where it did not. */
export function warningNotes(command: string, output: string): string[] {
  const lines = warningLines(output)
  const more = lines.length - MOST
  // The list of packages is long, and was shown: its first words tell which command it was.
  const short = command.length > LONG ? `${command.slice(0, LONG).replace(/ \S*$/, '')} …` : command
  return [
    ...lines.slice(0, MOST).map((line) => `${short} says: ${line}`),
    ...(more > 0 ? [`${short} says ${more} more such lines: --verbose shows all`] : []),
  ]
}
