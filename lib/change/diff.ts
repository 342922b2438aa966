import { Buffer } from 'node:buffer'
import { structuredPatch } from 'diff'
import type { Content } from './settings.ts'

/** The lines that change between two contents, with two lines around them, each with its sign: ` `, `-` or `+`. */
export function diffLines(before: Content, after: Content): string[] {
  const { hunks } = structuredPatch('', '', decoded(before), decoded(after), undefined, undefined, { context: 2 })
  return hunks.flatMap(({ lines }, index) => (index === 0 ? lines : [' …', ...lines]))
}

/** Contents hold one character a byte; people read UTF-8. */
function decoded(content: Content): string {
  return Buffer.from(content ?? '', 'latin1').toString('utf8')
}
