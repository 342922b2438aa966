import { Buffer } from 'node:buffer'
import { structuredPatch } from 'diff'
import type { Content } from './settings.ts'

/** Returns the lines that differ, with two lines around them, each after its sign: ` `, `-` or `+`. */
export function diffLines(before: Content, after: Content): string[] {
  const { hunks } = structuredPatch('', '', decoded(before), decoded(after), undefined, undefined, { context: 2 })
  return hunks.flatMap(({ lines }, index) => (index === 0 ? lines : [' …', ...lines]))
}

/** Returns a content as UTF-8 text for people: contents hold one character a byte. */
function decoded(content: Content): string {
  return Buffer.from(content ?? '', 'latin1').toString('utf8')
}
