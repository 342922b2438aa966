import type { Reader } from '../../lib/host/reader.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { rawText } from './boot-files.ts'
import { type MenuNode, markByGrub } from './entry-order.ts'
import { bootsRecovery } from './loader-entries.ts'
import { type MenuRow, toMenuEntry } from './menu-entries.ts'

// GRUB's menu as grub-mkconfig makes it, with what a person adds in custom.cfg.

/** Reads GRUB's environment block: `saved_entry`, `next_entry`, `kernelopts`. It doubles each backslash. */
export function readGrubEnvironment(files: Reader): ReadonlyMap<string, string> {
  const text = ['/boot/grub2/grubenv', '/boot/grub/grubenv'].flatMap((path) => rawText(files, path) ?? [])[0] ?? ''
  const pairs = [...text.matchAll(/^([^#=\n]+)=(.*)$/gm)]
  return new Map(pairs.map(([, name = '', value = '']) => [name, value.replaceAll('\\\\', '\\')]))
}

/** Returns what the menu takes when nobody chooses, as it says it; `null`: that cannot be told. */
export function readGrubDefault(text: string, environment: ReadonlyMap<string, string>): string | null {
  const next = environment.get('next_entry')
  if (next && text.includes('next_entry')) return next
  const rows = [...text.matchAll(/^\s*(?:set\s+)?default=(?:"([^"]*)"|'([^']*)'|(\S*))/gm)]
  const values = rows.map(([, double, single, bare]) => double ?? single ?? bare ?? '')
  const value = values.filter((one) => !/next_entry/.test(one)).at(-1) ?? '0'
  const saved = environment.get('prev_saved_entry') || environment.get('saved_entry') || '0'
  const said = value.replace(/\$\{?saved_entry\}?/, () => saved)
  return said.includes('$') ? null : said || '0'
}

/** Returns the entries of a menu that boot a Linux, without those of other systems that os-prober found. */
export function grubEntries(host: Host, menu: string): MenuEntry[] {
  const text = rawText(host.files, menu) ?? ''
  const custom = menu.replace(/[^/]*$/, 'custom.cfg')
  const added = text.includes('custom.cfg') ? (rawText(host.files, custom) ?? '') : ''
  const nodes = [...parseMenu(host, menu, text), ...parseMenu(host, custom, added)]
  return markByGrub(nodes, readGrubDefault(`${text}\n${added}`, readGrubEnvironment(host.files)))
}

const HEAD = /^\s*(menuentry|submenu)\s+(?:'((?:[^']|'\\'')*)'|"((?:[^"\\]|\\.)*)"|(\S+))(.*)\{\s*$/

/** Reads the tree of submenus and entries by its braces, which grub-mkconfig has at the ends of lines. */
function parseMenu(host: Host, file: string, text: string): MenuNode[] {
  const top: MenuNode[] = []
  const open: { node?: MenuNode; rows: MenuRow[]; foreign: boolean }[] = []
  for (const row of text.split('\n')) {
    const [, kind, single, double, bare, options = ''] = HEAD.exec(row) ?? []
    if (kind !== undefined) {
      const title = single?.replaceAll("'\\''", "'") ?? double?.replace(/\\(.)/g, '$1') ?? bare ?? ''
      const id = /(?:--id[= ]|\$menuentry_id_option\s+)['"]?([^'"\s]+)/.exec(options)?.[1] ?? ''
      const node: MenuNode = { title, id, entries: [], ...(kind === 'submenu' ? { below: [] } : {}) }
      const parent = open.map((one) => one.node).filter((one) => one?.below !== undefined)
      ;(parent.at(-1)?.below ?? top).push(node)
      open.push({ node, rows: [], foreign: /osprober-/.test(options) })
    } else if (/^\s*(function\s.*)?\{\s*$|^\s*function\s.*\{\s*$/.test(row)) open.push({ rows: [], foreign: true })
    else if (/^\s*\}\s*$/.test(row)) {
      const { node, rows, foreign } = open.pop() ?? { rows: [], foreign: true }
      if (node !== undefined && !foreign) node.entries = rows.map((one) => toMenuEntry(host, withRecovery(one)))
    } else addRow(open.at(-1), file, row)
  }
  return top
}

function addRow(at: { node?: MenuNode; rows: MenuRow[] } | undefined, file: string, row: string): void {
  const [, command, words = ''] = /^\s*(linux|initrd)(?:16|efi)?\s+(.*?)\s*$/.exec(row) ?? []
  if (at?.node === undefined || command === undefined) return
  const [, path = '', line = ''] = /^(\S+)\s*(.*)$/.exec(words) ?? []
  const plain = (word: string): string => word.replace(/["']/g, '')
  const paths = words.split(/\s+/).map(plain).filter(Boolean)
  if (command === 'initrd') at.rows.splice(-1, 1, ...at.rows.slice(-1).map((one) => ({ ...one, images: paths })))
  // A memory test is started like a kernel.
  else if (!/memtest/i.test(path))
    at.rows.push({
      title: at.node.title,
      file,
      kernel: plain(path),
      images: [],
      line,
      recovery: false,
      isDefault: null,
    })
}

function withRecovery(row: MenuRow): MenuRow {
  return { ...row, recovery: bootsRecovery(row.line, [row.kernel.replace(/.*\//, '')]) }
}
