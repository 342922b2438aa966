import { dropInFolders, readDropIns } from '../host/drop-ins.ts'
import type { Reader } from '../host/reader.ts'

// modprobe.d(5) as kmod reads it. Texts are one character a byte.

/** A file that modprobe reads, or is going to read. */
export interface ModprobeFile {
  path: string
  text: string
}

const COMMANDS = ['alias', 'blacklist', 'install', 'options', 'remove', 'softdep'] as const

export interface Directive {
  file: string
  /** The number of the line on which it starts, from 1. */
  line: number
  command: (typeof COMMANDS)[number]
  /** The module (the alias for `alias`) with `-` as `_`; a pattern (`snd_*`) too, but for `options` and `blacklist`. */
  module: string
  /** The rest of the line, unchanged: options, `pre: vfio-pci`, a shell command; for `alias`, the module. */
  rest: string
}

/**
 * Returns the files that modprobe reads, in its order. With a kernel's release, that kernel's modules.softdep is one of
 * them, at its place in the alphabet. `folders`: those of which an image has files.
 * Source: modprobe.d(5); kmod_config_new() in kmod's libkmod/libkmod-config.c.
 */
export function modprobeFiles(
  files: Reader,
  release?: string,
  folders: readonly string[] = dropInFolders('modprobe.d'),
): ModprobeFile[] {
  const softdep = `/lib/modules/${release}/modules.softdep`
  const more = release === undefined ? [] : ([['modules.softdep', softdep]] as const)
  return readDropIns(files, folders, /^[^.].*\.conf$/s, more)
}

/** Returns the directives of the files in kmod's order, without lines that it ignores as bad. Source: modprobe.d(5). */
export function parseModprobe(files: readonly ModprobeFile[]): Directive[] {
  return files.flatMap(({ path, text }) =>
    modprobeLines(text).flatMap((line) => {
      const found = parseDirective(line)
      if (found === undefined) return []
      const { command, module, rest } = found
      return [{ file: path, line: line.number, command, module, rest }]
    }),
  )
}

/** Returns a module's name with `-` as `_`, which are the same in names; in a pattern's brackets a `-` is a range. */
export function moduleName(name: string): string {
  // Asked a hundred thousand times for one prediction.
  if (!name.includes('-')) return name
  return name.replace(/\[[^\]]*\]|-/g, (part) => (part === '-' ? '_' : part))
}

/** An `ids=` among a module's options: the start of its value in the options, and its members, unchanged. */
export interface IdList {
  at: number
  members: string[]
}

/**
 * Returns every `ids=` among a module's options; the kernel uses the last. Words and quotes are read as in the kernel:
 * next_arg() in its lib/cmdline.c.
 */
export function parseIdLists(options: string): IdList[] {
  return optionWords(options).flatMap(({ at, word }) => {
    const [whole, value] = /^"?ids="?([^"]*)/.exec(word) ?? []
    if (whole === undefined || value === undefined) return []
    return [{ at: at + whole.length - value.length, members: value.split(',') }]
  })
}

/** Does the module's last `ids=` in this text have the ID? Upper and lower case are the same. */
export function hasId(text: string, module: string, id: string): boolean {
  return findLastIdList(text, module)?.list.members.some((member) => sameId(member, id)) ?? false
}

/**
 * Returns the text with the ID in the module's last `ids=`, or with a new line where there is none. The rest of the
 * text stays as it is, byte for byte.
 */
export function addId(text: string, module: string, id: string): string {
  const last = findLastIdList(text, module)
  if (last === undefined) return addLine(text, `options ${module} ids=${id}`)
  if (last.list.members.some((member) => sameId(member, id))) return text
  const { members, at } = last.list
  const length = members.join(',').length
  // vfio_pci_fill_ids() skips an empty member, so a comma at the end, or an empty list, can stay.
  const [offset, added] = length === 0 ? [0, `${id},`] : [members.at(-1) === '' ? length - 1 : length, `,${id}`]
  const place = last.rest + at + offset
  const before = charactersOf(last.line)[place - 1]
  return before === undefined ? text : text.slice(0, before.end) + added + text.slice(before.end)
}

/** Returns the text without the ID in the module's last `ids=`; an option or line that held nothing else goes too. */
export function removeId(text: string, module: string, id: string): string {
  for (let rest = text; ; ) {
    const last = findLastIdList(rest, module)
    const index = last?.list.members.findIndex((member) => sameId(member, id)) ?? -1
    if (last === undefined || index < 0) return rest
    rest = withoutMember(rest, last, index)
  }
}

/** Is it a whole line of the text, with its continuations? Blanks and carriage returns at its end do not count. */
export function hasLine(text: string, line: string): boolean {
  return modprobeLines(text).some((one) => trimLineEnd(one.raw) === trimLineEnd(line))
}

/** Returns the text with the line at its end; but in front of a last line that ends within a continuation. */
export function addLine(text: string, line: string): string {
  if (hasLine(text, line)) return text
  const last = modprobeLines(text).at(-1)
  if (last === undefined || last.end === 'newline') return `${text}${line}\n`
  if (last.end === 'nothing') return `${text}\n${line}`
  return `${text.slice(0, last.start)}${line}\n${text.slice(last.start)}`
}

/** Returns the text without the line, wherever it is. After `addLine` it is the old text, byte for byte. */
export function removeLine(text: string, line: string): string {
  const found = modprobeLines(text).filter((one) => trimLineEnd(one.raw) === trimLineEnd(line))
  return found.reduceRight(withoutLine, text)
}

/** A line with the lines that continue it. */
interface ModprobeLine {
  number: number
  start: number
  raw: string
  /** The end of the line: a newline, the end of the file, or a backslash at the end of the file. */
  end: 'newline' | 'nothing' | 'continuation'
}

/** Splits a text: a backslash joins lines, else it is dropped. Source: freadline_wrapped() in kmod's shared/util.c. */
function modprobeLines(text: string): ModprobeLine[] {
  const lines: ModprobeLine[] = []
  let number = 1
  for (const found of text.matchAll(/(?:[^\\\n]+|(\\(?:\n|$))|\\.)*(\n)?/gs)) {
    const [raw, continued, newline] = found
    if (raw === '') continue
    const end = newline !== undefined ? 'newline' : continued !== undefined ? 'continuation' : 'nothing'
    lines.push({ number, start: found.index, raw, end })
    number += raw.split('\n').length - 1
  }
  return lines
}

/** A character, a backslash with the one that it keeps, or a continuation. */
const STEP = /\\(?:\n|$)|\\?(.)/gs

/** Returns the characters of a line without its end, continuations and backslashes, with their places in the text. */
function charactersOf({ start, raw, end }: ModprobeLine): { start: number; end: number }[] {
  const line = end === 'newline' ? raw.slice(0, -1) : raw
  return [...line.matchAll(STEP)].flatMap(({ 0: step, 1: char, index }) =>
    char === undefined ? [] : [{ start: start + index, end: start + index + step.length }],
  )
}

const trimLineEnd = (line: string): string => line.replace(/[\t\r\n ]+$/, '')

function parseDirective(
  line: ModprobeLine,
): (Pick<Directive, 'command' | 'module' | 'rest'> & { at: number }) | undefined {
  const text = (line.end === 'newline' ? line.raw.slice(0, -1) : line.raw).replace(STEP, '$1')
  // Only a `#` in the first column starts a comment. The words are cut as strtok(3) does with tab and space.
  const [head, name, second = ''] = /^(?!#)[\t ]*([^\t ]+)[\t ]+([^\t ]+)[\t ]?/.exec(text) ?? []
  const command = COMMANDS.find((each) => each === name)
  if (head === undefined || command === undefined || /^[^[]*\]|\[[^\]]*$/.test(second)) return undefined
  const at = head.length
  const rest = command === 'alias' ? (/[^\t ]+/.exec(text.slice(at))?.[0] ?? '') : text.slice(at)
  if (rest === '' && command !== 'blacklist') return undefined
  return {
    command,
    module: moduleName(second),
    rest: command === 'blacklist' ? '' : command === 'alias' ? moduleName(rest) : rest,
    at,
  }
}

interface FoundIdList {
  line: ModprobeLine
  /** The start of the options among the line's characters. */
  rest: number
  options: string
  list: IdList
}

function findLastIdList(text: string, module: string): FoundIdList | undefined {
  for (const line of modprobeLines(text).reverse()) {
    const directive = parseDirective(line)
    if (directive?.command !== 'options' || directive.module !== moduleName(module)) continue
    const list = parseIdLists(directive.rest).at(-1)
    if (list !== undefined) return { line, rest: directive.at, options: directive.rest, list }
  }
  return undefined
}

function withoutMember(text: string, { line, rest, options, list }: FoundIdList, index: number): string {
  const { members, at } = list
  if (members.length > 1) {
    // The comma before it goes too; for the first member, that after it.
    const from = index === 0 ? 0 : members.slice(0, index).join(',').length
    return cut(text, line, rest + at + from, (members[index] ?? '').length + 1)
  }
  const words = optionWords(options)
  const own = words.filter((word) => word.at < at).at(-1)
  if (words.length === 1 || own === undefined) return withoutLine(text, line)
  // The blanks before it go too; for the first option, those after it.
  const end = own.at + own.word.length
  const [before, after] = [options.slice(0, own.at), options.slice(end)]
  const from = trimLineEnd(before).length
  if (from > 0) return cut(text, line, rest + from, end - from)
  const blanks = /^[\t ]*/.exec(after)?.[0].length ?? 0
  return cut(text, line, rest + own.at, own.word.length + blanks)
}

/** Takes characters of a line out of the text; continuations before and after them stay. */
function cut(text: string, line: ModprobeLine, from: number, length: number): string {
  const gone = charactersOf(line).slice(from, from + length)
  return gone.reduceRight((left, { start, end }) => left.slice(0, start) + left.slice(end), text)
}

function withoutLine(text: string, { start, raw, end }: ModprobeLine): string {
  // For a last line without a newline, the newline before it goes too.
  const from = end === 'nothing' && start > 0 ? start - 1 : start
  return text.slice(0, from) + text.slice(start + raw.length)
}

/** Returns the words of a module's options, with their places; quotes hold blanks together. */
export function optionWords(options: string): { at: number; word: string }[] {
  return [...options.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].map(({ index, 0: word }) => ({ at: index, word }))
}

function sameId(one: string, other: string): boolean {
  return one.trim().toLowerCase() === other.trim().toLowerCase()
}
