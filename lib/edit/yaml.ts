import { addLine, hasLine, removeLine } from './modprobe.ts'

// A list with commas that is one string of a YAML file: `modules_force_load: ext4,"i915"`. Plain, quoted or folded, it
// is edited where it starts, so that nothing else moves. Texts are one character a byte. Source: YAML 1.2.2, chapter 7.

/** Has the key's list this member? `-` and `_` are the same in modules' names. */
export function hasYamlMember(text: string, key: string, member: string): boolean {
  return findYamlMember(text, key, member) !== undefined
}

/** The text with the member in front of the key's list. */
export function addYamlMember(text: string, key: string, member: string): string {
  if (hasYamlMember(text, key, member)) return text
  const value = findValue(text, key)
  if (value === undefined) return addLine(text, `${key}: ${member}`)
  const { colon, first, empty } = value
  // Two blanks: what removes it can tell this from a line that is ours.
  const [at, more] = !empty
    ? [first, `${member},`]
    : /["']/.test(text[first - 1] ?? '')
      ? [first, member]
      : [colon, `  ${member}`]
  return text.slice(0, at) + more + text.slice(at)
}

/** The text without the member. After `addMember` it is what it was, byte for byte. */
export function removeYamlMember(text: string, key: string, member: string): string {
  const own = `${key}: ${member}`
  if (hasLine(text, own)) return removeLine(text, own)
  const place = findYamlMember(text, key, member)
  const value = findValue(text, key)
  if (place === undefined || value === undefined) return text
  let { from, to } = place
  if (text[to] === ',') to++
  else if (/,[ \t]*$/.test(text.slice(value.colon, from))) from = text.lastIndexOf(',', from)
  else if (text.slice(value.colon, from) === '  ') from = value.colon
  return text.slice(0, from) + text.slice(to)
}

interface YamlValue {
  /** Behind the colon. */
  colon: number
  /** Where its first member starts, or would. */
  first: number
  end: number
  empty: boolean
}

/** A key at the left margin, and its value with the lines that are indented below it. */
function findValue(text: string, key: string): YamlValue | undefined {
  const found = new RegExp(`^${key}[ \\t]*:(?=[ \\t\\r\\n]|$)`, 'm').exec(text)
  if (found === null) return undefined
  const colon = found.index + found[0].length
  const end = colon + (/^.*(?:\n[ \t].*|\n(?=\r?\n[ \t]))*/.exec(text.slice(colon))?.[0].length ?? 0)
  const [head = ''] = /^\s*(?:[|>][-+0-9]*[^\n]*\n\s*|["'])?/.exec(text.slice(colon, end)) ?? []
  const first = colon + head.length
  return { colon, first, end, empty: /^["']?\s*(?:#.*)?$/s.test(text.slice(first, end)) }
}

function findYamlMember(text: string, key: string, member: string): { from: number; to: number } | undefined {
  const value = findValue(text, key)
  if (value === undefined) return undefined
  const list = text.slice(value.first, value.end).replace(/(^|[ \t])#.*/g, (comment) => ' '.repeat(comment.length))
  const pattern = member.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/[-_]/g, '[-_]')
  const found = new RegExp(`(?<![\\w./-])${pattern}(?![\\w./-])`).exec(list)
  if (found === null) return undefined
  const from = value.first + found.index
  return { from, to: from + member.length }
}
