import { globPattern } from '../../core/glob.ts'
import type { Reader } from '../../host/reader.ts'

// Debian's /etc/network/interfaces, in the order in which ifup reads it. Source: interfaces(5).

export const INTERFACES_FILE = '/etc/network/interfaces'

/** A logical line of the file, joined with those that continue it after a backslash. */
export interface InterfacesLine {
  path: string
  /** The text as it stands, without the last end of line. */
  text: string
  words: string[]
}

/** A line that starts a section, and its options. Comments keep their places, and have no words. */
export interface Stanza {
  head: InterfacesLine
  options: InterfacesLine[]
}

const STARTS = /^(auto|allow-\S+|iface|mapping|source|source-directory|no-auto-down|no-scripts|rename|template)$/

/** Reads all stanzas; those of an included file take the place of the line that includes it. */
export function readInterfaces(files: Reader): Stanza[] {
  return readStanzas(files, INTERFACES_FILE, [])
}

/** Would a file with this path be included? */
export function isIncluded(files: Reader, path: string): boolean {
  return readInterfaces(files).some(({ head: { path: from, words } }) =>
    patternsOf(from, words).some((pattern) => pattern.test(path)),
  )
}

function readStanzas(files: Reader, path: string, above: readonly string[]): Stanza[] {
  const text = files.bytes(path)?.toString('latin1')
  if (text === undefined || above.includes(path) || above.length > 8) return []
  const stanzas: Stanza[] = []
  for (const line of parseInterfacesLines(path, text)) {
    const [start = ''] = line.words
    if (!STARTS.test(start)) stanzas.at(-1)?.options.push(line)
    else stanzas.push({ head: line, options: [] })
  }
  return stanzas.flatMap((stanza) => [
    stanza,
    ...sourcesOf(files, stanza.head).flatMap((one) => readStanzas(files, one, [...above, path])),
  ])
}

function parseInterfacesLines(path: string, text: string): InterfacesLine[] {
  const lines: InterfacesLine[] = []
  const physical = text.split('\n')
  for (let at = 0; at < physical.length; at++) {
    let whole = physical[at] ?? ''
    const comment = /^\s*(#|$)/.test(whole)
    while (!comment && whole.endsWith('\\') && at + 1 < physical.length) whole += `\n${physical[++at]}`
    const words = comment ? [] : whole.replaceAll('\\\n', ' ').split(/\s+/).filter(Boolean)
    lines.push({ path, text: whole, words })
  }
  return lines
}

function sourcesOf(files: Reader, { path, words }: InterfacesLine): string[] {
  return patternsOf(path, words).flatMap(({ folder, test }) =>
    (files.list(folder) ?? []).map((name) => `${folder}/${name}`).filter((one) => test(one)),
  )
}

/** Returns the patterns of `source` and `source-directory`; wildcards are understood in the last part of a path. */
function patternsOf(path: string, [start, ...names]: readonly string[]): SourcePattern[] {
  if (start !== 'source' && start !== 'source-directory') return []
  return names.map((name) => {
    const whole = name.startsWith('/') ? name : `${path.replace(/[^/]*$/, '')}${name}`
    const folder = start === 'source' ? whole.replace(/\/[^/]*$/, '') : whole.replace(/\/$/, '')
    const last = start === 'source' ? globPattern(whole.slice(folder.length + 1)) : /^[\w-]+$/
    // A wildcard does not match a leading point.
    const isName = (one: string): boolean => !one.startsWith('.') && last.test(one)
    return { folder, test: (one) => one.startsWith(`${folder}/`) && isName(one.slice(folder.length + 1)) }
  })
}

interface SourcePattern {
  folder: string
  test(path: string): boolean
}
