import { addLine, hasLine, removeLine } from './modprobe.ts'

// A list with commas that is one string of a YAML file: `modules_force_load: ext4,"i915"`. Plain, quoted or folded, it
// is edited at its start, so that nothing else moves. Texts are one character a byte. Source: YAML 1.2.2, chapter 7.

/** Does the key's list have this member? `-` and `_` are the same in modules' names. */
export function hasYamlMember(text: string, key: string, member: string): boolean {
  return findYamlMember(text, key, member) !== undefined
}

/** Returns the members of the key's list, and the line on which the key stands, from 1; `undefined`: there is no key. */
export function yamlMembers(text: string, key: string): { line: number; members: string[] } | undefined {
  const value = findValue(text, key)
  if (value === undefined) return undefined
  const list = text.slice(value.first, value.end).replace(/(^|[ \t])#.*/g, '')
  const members = list.split(/[\s,"'[\]]+|^- /).filter((word) => word !== '' && word !== '-')
  return { line: text.slice(0, value.colon).split('\n').length, members }
}

/** Returns the text with the member at the start of the key's list. */
export function addYamlMember(text: string, key: string, member: string): string {
  if (hasYamlMember(text, key, member)) return text
  const value = findValue(text, key)
  if (value === undefined) return addLine(text, `${key}: ${member}`)
  const { colon, first, empty } = value
  // Two blanks: `removeYamlMember` tells this from a line that was added whole.
  const [at, more] = !empty
    ? [first, `${member},`]
    : /["']/.test(text[first - 1] ?? '')
      ? [first, member]
      : [colon, `  ${member}`]
  return text.slice(0, at) + more + text.slice(at)
}

/** Returns the text without the member. After `addYamlMember` it is the old text, byte for byte. */
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
  /** The place behind the colon. */
  colon: number
  /** The place at which the first member starts, or would start. */
  first: number
  end: number
  empty: boolean
}

/** Finds a key at the left margin, and its value with the indented lines below it. */
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
