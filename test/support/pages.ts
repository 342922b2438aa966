// What a page of documentation says: its blocks, commands, headings, tables and transcripts.
import { runProgram } from './run.ts'

/**
 * A fenced block. After its language a page may say `on NAME` (of `test/machines`, `three-problems`, or `proxmox-node`): the machine
 * it is about; or `parsed`: its commands want what no test has, so that only their words are looked at.
 */
export interface Block {
  language: string
  on?: string
  parsed: boolean
  text: string
}

const FENCED = /^```(\w+)(?: on ([\w-]+)| (parsed))?\n([\s\S]*?)^```$/gm

/** The fenced blocks of a page. */
export function blocksOf(page: string): Block[] {
  return [...page.matchAll(FENCED)].map(([, language = '', on, parsed, text = '']) => ({
    language,
    parsed: parsed !== undefined,
    text,
    ...(on !== undefined && { on }),
  }))
}

/** What a block has a shell do, one command each; bash says where a command ends. */
export function commandsOf({ language, text }: Pick<Block, 'language' | 'text'>): string[] {
  const lines =
    language === 'console' ? [...text.matchAll(/^\$ (.*)$/gm)].map((match) => match[1] ?? '') : text.split('\n')
  const commands: string[] = []
  let rest = ''
  for (const line of lines) {
    rest += `${line}\n`
    if (/\\\n$/.test(rest) || runProgram('bash', ['-n', '-c', rest]).code !== 0) continue
    if (/^[^#\s]/m.test(rest)) commands.push(rest.trimEnd())
    rest = ''
  }
  if (rest !== '') throw new Error(`bash cannot parse: ${rest}`)
  return commands
}

/** The headings' levels, the blocks without comments, and what each row of a table has as code: alike in every language. */
export function skeletonOf(page: string): { levels: string[]; blocks: string[]; rows: string[][] } {
  const blocks = [...page.matchAll(FENCED)].map(([block]) => block.replace(/ +# .*$/gm, ''))
  const text = page.replace(FENCED, '')
  return {
    levels: [...text.matchAll(/^(#+) /gm)].map(([, level = '']) => level),
    blocks,
    rows: [...text.matchAll(/^\|.*$/gm)].map(([row]) => row.match(/`[^`]+`/g) ?? []),
  }
}

/** The names by which links name a page's headings, as GitHub makes them. */
export function headingsOf(page: string): string[] {
  const seen = new Map<string, number>()
  return [...page.replace(FENCED, '').matchAll(/^#+ (.*)$/gm)].map(([, text = '']) => {
    const name = text
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
    const before = seen.get(name) ?? 0
    seen.set(name, before + 1)
    return before === 0 ? name : `${name}-${before}`
  })
}

/** The rows of the table whose head starts with this word, cell by cell. */
export function tableOf(page: string, first: string): string[][] {
  const lines = page.split('\n')
  const start = lines.findIndex((line) => line.startsWith(`| ${first} `)) + 2
  const end = lines.findIndex((line, index) => index >= start && !line.startsWith('|'))
  return lines.slice(start, end).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  )
}

/** What a console block shows below its command: `…` stands for any lines that are not shown. */
export function transcriptOf({ text }: Pick<Block, 'text'>): { command: string; shown: RegExp } {
  const [first = '', ...lines] = text.split('\n')
  const pattern = lines.map((line) =>
    line.trim() === '…' ? '[\\s\\S]*?' : line.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'),
  )
  return { command: first.replace(/^\$ /, ''), shown: new RegExp(`^${pattern.join('\n')}$`) }
}
