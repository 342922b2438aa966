// The texts of the sources that a person can see.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PROJECT } from './run.ts'

/** A comment, a text in quotes, a regular expression where a value may stand, or any other character. */
const TOKEN =
  /\/\/.*|\/\*[\s\S]*?\*\/|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|(?<=[(,=:[!&|?{};\n]\s*)\/(?![/*])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*|[\s\S]/y

/** The texts of a source, with `…` where a value is put in. Those in a value of a template follow it. */
export function textsOf(source: string): string[] {
  const texts: string[] = []
  /** Reads code up to the brace that closes it, or a template up to its end; returns where that is. */
  const code = (from: number): number => {
    let depth = 0
    for (let at = from; at < source.length; ) {
      TOKEN.lastIndex = at
      const token = TOKEN.exec(source)?.[0] ?? ''
      at += token.length
      if (token === '{') depth += 1
      else if (token === '}' && depth-- === 0) return at
      else if (token === '`') at = template(at)
      else if (/^['"].+['"]$/s.test(token)) texts.push(token.slice(1, -1))
    }
    return source.length
  }
  const template = (from: number): number => {
    const index = texts.push('') - 1
    for (let at = from; at < source.length; ) {
      if (source[at] === '`') return at + 1
      const length = source[at] === '\\' ? 2 : 1
      const opens = source.startsWith('${', at)
      texts[index] += opens ? '…' : source.slice(at, at + length)
      at = opens ? code(at + 2) : at + length
    }
    throw new Error('a template without an end')
  }
  if (code(0) !== source.length) throw new Error('a brace too many')
  return texts
}

/** What reads as words of a sentence: no paths, patterns, columns of a table. */
export const isMessage = (text: string): boolean =>
  (text.match(/(?<![\w/.-])[A-Za-z][a-z]*(?=[ ,.:;?]|$)/g) ?? []).length >= 3

/** All messages: path of the source → its texts. */
export function allMessages(): Map<string, string[]> {
  const all = new Map<string, string[]>()
  for (const folder of ['lib', 'distros', 'scripts'])
    for (const path of readdirSync(join(PROJECT, folder), { recursive: true }).map(String).sort()) {
      if (!/\.m?ts$/.test(path)) continue
      const texts = textsOf(readFileSync(join(PROJECT, folder, path), 'utf8')).filter(isMessage)
      if (texts.length > 0) all.set(`${folder}/${path}`, texts)
    }
  return all
}
