import { globPattern } from '../../core/glob.ts'
import type { Reader } from '../../host/reader.ts'
import { configText, unmovable } from './network-config.ts'

// netplan's YAML, read line by line, so that an edit leaves the rest as its author wrote it. Source: netplan(5).

export const NETPLAN_FOLDER = '/etc/netplan'
export const NETPLAN_OWN_FILE = `${NETPLAN_FOLDER}/99-vfio-scripts.yaml`

/** The lines of a file that set the card up. */
export interface NetplanBlock {
  path: string
  /** The name in the configuration: the interface's, unless the card is matched by something else. */
  id: string
  /** The line with the name, and the lines that belong to it. */
  lines: string[]
  /** The indentation of the lines that belong to it. */
  indent: number
  /** The renderer of all of the file's cards; `undefined` where the file does not say. */
  renderer: string | undefined
}

/** Reads the YAML of persons and installers, without the profiles that NetworkManager keeps there. */
export function yamlFiles(files: Reader): { path: string; lines: string[] }[] {
  return (files.list(NETPLAN_FOLDER) ?? [])
    .filter((name) => name.endsWith('.yaml') && !NETPLAN_OWN_FILE.endsWith(name) && !/^90-NM-/.test(name))
    .map((name) => `${NETPLAN_FOLDER}/${name}`)
    .map((path) => ({ path, lines: configText(files, path).split('\n') }))
}

/** Finds the blocks that set the card up. Throws a UserError, code `unknown-system`, for flow style and tabs. */
export function findNetplanBlocks(files: Reader, port: string, mac: string | undefined): NetplanBlock[] {
  return yamlFiles(files).flatMap(({ path, lines }): NetplanBlock[] => {
    const strange = (): Error =>
      unmovable(`${path}: ${port} is set up in a form of YAML that is not edited here; write it line by line`)
    const top = lines.findIndex((line) => /^ *["']?ethernets["']?:\s*(#.*)?$/.test(line))
    if (top < 0) {
      if (lines.some((line) => line.includes('ethernets') && line.includes(port))) throw strange()
      return []
    }
    const within = linesBelow(lines, top)
    const renderer = within.find((line) => /^ *renderer:/.test(line) && depth(line) === depth(within.find(hasText)))
    return cardsOf(within).flatMap(({ id, rest, block }): NetplanBlock[] => {
      const fit = matchBlock(id, block, port, mac)
      if (fit === false) return []
      if (!/^(\{\s*\}\s*)?(#.*)?$/.test(rest) || block.some((line) => line.includes('\t'))) throw strange()
      if (fit === undefined)
        throw unmovable(`${path}: ${id} may be ${port} or not; give it a match by name or macaddress`)
      if (fit === 'more') throw unmovable(`${path}: ${id} matches more than ${port}; give ${port} an entry of its own`)
      const indent = depth(block.slice(1).find(hasText)) || depth(block[0]) + 2
      return [{ path, id, lines: block, indent, renderer: renderer?.replace(/^ *renderer:\s*|\s*(#.*)?$/g, '') }]
    })
  })
}

/** Splits a block into its keys, each with its lines as they stand. */
export function keysOf({ lines, indent }: Pick<NetplanBlock, 'lines' | 'indent'>): { key: string; lines: string[] }[] {
  const parts: { key: string; lines: string[] }[] = []
  let comments: string[] = []
  for (const line of lines.slice(1)) {
    if (depth(line) > indent || (parts.length > 0 && /^\s*-/.test(line) && depth(line) === indent))
      parts.at(-1)?.lines.push(...comments.splice(0), line)
    else if (isBlank(line)) comments.push(line)
    else {
      const key = /^\s*["']?([\w-]+)["']?\s*:/.exec(line)?.[1] ?? ''
      parts.push({ key, lines: [...comments, line] })
      comments = []
    }
  }
  parts.at(-1)?.lines.push(...comments)
  return parts
}

/** Returns the value in the line of a key, without quotes. */
export function valueIn(lines: readonly string[], key: string): string | undefined {
  const line = lines.find((one) => new RegExp(`^\\s*["']?${key}["']?\\s*:`).test(one))
  return line?.replace(/^[^:]*:\s*|\s+#.*$/g, '').replace(/^(["'])(.*)\1$/, '$2')
}

/** Returns the files with a bond or a bridge that has this interface as a part. */
export function ownersOf(files: Reader, id: string): string[] {
  return yamlFiles(files)
    .filter(({ lines }) =>
      lines.some((line, at) => {
        if (!/^\s*["']?interfaces["']?\s*:/.test(line)) return false
        const text = [line, ...linesBelow(lines, at)].map((one) => one.replace(/\s#.*/, '')).join(' ')
        return text.split(/[\s[\],"']+/).includes(id)
      }),
    )
    .map(({ path }) => path)
}

/** Returns the file that has a device of this name, of whatever kind. */
export function fileWith(files: Reader, name: string): string | undefined {
  const key = new RegExp(`^\\s+["']?${name.replaceAll('.', '\\.')}["']?:`)
  return yamlFiles(files).find(({ lines }) => lines.some((line) => key.test(line)))?.path
}

function cardsOf(within: readonly string[]): { id: string; rest: string; block: string[] }[] {
  const own = depth(within.find(hasText))
  const heads = within.flatMap((line, at) => (hasText(line) && depth(line) === own ? [at] : []))
  return heads.map((at, index) => {
    const block = within.slice(at, heads[index + 1])
    while (isBlank(block.at(-1) ?? 'x')) block.pop()
    const [, , id = '', rest = ''] = /^ *(["']?)([^"':]+)\1\s*:\s*(.*)$/.exec(block[0] ?? '') ?? []
    return { id, rest, block }
  })
}

/** Does the block set the card up? `more`: it sets up other cards too; `undefined`: it cannot be told. */
function matchBlock(
  id: string,
  block: readonly string[],
  port: string,
  mac: string | undefined,
): boolean | 'more' | undefined {
  const indent = depth(block.slice(1).find(hasText))
  const match = keysOf({ lines: [...block], indent }).find(({ key }) => key === 'match')?.lines
  if (match === undefined) return id === port
  const flow = match
    .join(' ')
    .replace(/^[^{]*\{|\}.*$/g, '')
    .split(',')
    .map((one) => `  ${one.trim()}`)
  const lines = match.length === 1 ? flow : match.slice(1)
  const [address, name] = [valueIn(lines, 'macaddress'), valueIn(lines, 'name')]
  const renamed = valueIn(block, 'set-name')
  const called = renamed === port || (renamed === undefined && id === port)
  if (address !== undefined) return mac === undefined ? called || undefined : address.toLowerCase() === mac
  if (renamed !== undefined) return renamed === port
  if (name === undefined) return lines.length > 0 ? undefined : id === port
  if (name === port) return true
  if (/^[[{]/.test(name) || name === '') return undefined
  return globPattern(name).test(port) ? 'more' : false
}

/** Returns the lines that belong to the key in a line: deeper ones, and members of a list with the same indentation. */
function linesBelow(lines: readonly string[], at: number): string[] {
  const own = depth(lines[at])
  const rest = lines.slice(at + 1)
  const end = rest.findIndex(
    (line) => hasText(line) && (depth(line) < own || (depth(line) === own && !/^\s*-/.test(line))),
  )
  return rest.slice(0, end < 0 ? undefined : end)
}

function isBlank(line: string): boolean {
  return /^\s*(#.*)?$/.test(line)
}

function hasText(line: string): boolean {
  return !isBlank(line)
}

function depth(line: string | undefined): number {
  return /^ */.exec(line ?? '')?.[0].length ?? 0
}
