import { moduleName, parseIdLists } from './modprobe.ts'

// IDs beside a module's name in a list of modules to load, one a line: /etc/initramfs-tools/modules.
// Source: initramfs-tools(7); load_modules() in its scripts/functions gives each line to modprobe.

interface ListedIds {
  /** The number of the line, from 1. */
  line: number
  /** The place of the list in the text. */
  at: number
  members: string[]
}

/** Returns the lists of IDs that the lines of a module have. The first line that loads it is the one that counts. */
export function findListedIds(text: string, module: string): ListedIds[] {
  let start = 0
  return text.split('\n').flatMap((row, index) => {
    const from = start
    start += row.length + 1
    const [, name = '', options = ''] = /^\s*([^\s#;]+)\s+(.*)$/.exec(row) ?? []
    const list = moduleName(name) === moduleName(module) ? parseIdLists(options).at(-1) : undefined
    if (list === undefined) return []
    return [{ line: index + 1, at: from + row.length - options.length + list.at, members: list.members }]
  })
}

/** Does the list that counts have the ID? Upper and lower case are the same. */
export function hasListedId(text: string, module: string, id: string): boolean {
  return memberAt(findListedIds(text, module)[0], id) >= 0
}

/** Returns the text with the ID in that list; unchanged where there is none. */
export function addListedId(text: string, module: string, id: string): string {
  const [list] = findListedIds(text, module)
  if (list === undefined || memberAt(list, id) >= 0) return text
  const end = list.at + list.members.join(',').length
  const isEmpty = list.members.every((member) => member === '')
  return `${text.slice(0, end)}${isEmpty ? '' : ','}${id}${text.slice(end)}`
}

/** Returns the text without the ID in that list. After `addListedId` it is the old text, byte for byte. */
export function removeListedId(text: string, module: string, id: string): string {
  const [list] = findListedIds(text, module)
  const index = memberAt(list, id)
  if (list === undefined || index < 0) return text
  const rest = list.members.filter((_, at) => at !== index)
  return text.slice(0, list.at) + rest.join(',') + text.slice(list.at + list.members.join(',').length)
}

function memberAt(list: ListedIds | undefined, id: string): number {
  return list?.members.findIndex((member) => member.toLowerCase() === id.toLowerCase()) ?? -1
}
