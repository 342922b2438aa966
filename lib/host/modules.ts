import type { Buffer } from 'node:buffer'
import type { Reader } from './reader.ts'

/** What a PCI function is matched by. IDs are lower-case hex: four digits, the class six. */
export interface ModuleKey {
  vendor: string
  device: string
  subsystem: { vendor: string; device: string } | null
  pciClass: string
}

export interface ModuleTables {
  /** The modules that could claim a function, in the order of the tables; `null` when no table is readable. */
  claiming(key: ModuleKey): string[] | null
  /** Per table read: its path and the lines that matched so far. */
  excerpts(): Map<string, string>
}

interface Alias {
  /** Where in its table, so that matches keep depmod's order. */
  at: number
  module: string
  /** What follows the device in the pattern: `sv*sd*bc03sc*i*`. */
  rest: string
  line: string
}

interface Table {
  path: string
  data: Buffer
  /** What ends a record: a newline in modules.alias, NUL in modules.builtin.modinfo. */
  end: string
  used: Map<number, string>
  vendors: Map<string, Map<string, Alias[]>>
}

/**
 * depmod's tables for one kernel release: `modules.alias` for modules and `modules.builtin.modinfo` for drivers built
 * into the kernel. The first of `readers` that has them is used.
 * Source: depmod(8), Documentation/kbuild/kbuild.rst, and file2alias.c for the form of `pci:` patterns.
 */
export function readModuleTables(readers: readonly Reader[], release: string | undefined): ModuleTables {
  const tables: Table[] = []
  for (const [name, end] of [
    ['modules.alias', '\n'],
    ['modules.builtin.modinfo', '\0'],
  ] as const) {
    if (release === undefined) break
    for (const folder of [`/lib/modules/${release}`, `/usr/lib/modules/${release}`]) {
      const path = `${folder}/${name}`
      const data = readers.map((reader) => reader.optionalBytes(path)).find((found) => found !== undefined)
      if (data === undefined) continue
      tables.push({ path, data, end, used: new Map(), vendors: new Map() })
      break
    }
  }
  return {
    claiming: (key) => (tables.length === 0 ? null : [...new Set(tables.flatMap((table) => claiming(table, key)))]),
    excerpts: () =>
      new Map(
        tables.map((table) => {
          const lines = [...table.used].sort(([one], [other]) => one - other)
          return [table.path, lines.map(([, line]) => line + table.end).join('')]
        }),
      ),
  }
}

function claiming(table: Table, key: ModuleKey): string[] {
  const upper = (id: string | undefined): string => (id ?? '').toUpperCase().padStart(8, '0')
  const { vendor, device, subsystem, pciClass } = key
  const [base, sub, progIf] = [pciClass.slice(0, 2), pciClass.slice(2, 4), pciClass.slice(4)].map((part) =>
    part.toUpperCase(),
  )
  const rest = `sv${upper(subsystem?.vendor)}sd${upper(subsystem?.device)}bc${base}sc${sub}i${progIf}`
  const specific = aliasesOf(table, upper(vendor))
  const candidates = [specific.get(upper(device)), specific.get('*'), aliasesOf(table, '*').get('*')]
  const matching = candidates.flatMap((aliases) => aliases?.filter((alias) => matches(alias.rest, rest)) ?? [])
  for (const alias of matching) table.used.set(alias.at, alias.line)
  return matching.sort((one, other) => one.at - other.at).map((alias) => alias.module)
}

/** A vendor's patterns by device (`*`: any), cut out of the table on first use: it has ten thousands of lines. */
function aliasesOf(table: Table, vendor: string): Map<string, Alias[]> {
  const known = table.vendors.get(vendor)
  if (known !== undefined) return known
  const devices = new Map<string, Alias[]>()
  table.vendors.set(vendor, devices)
  const { data, end } = table
  const needle = `pci:v${vendor}d`
  for (let at = data.indexOf(needle, 0, 'latin1'); at >= 0; at = data.indexOf(needle, at + 1, 'latin1')) {
    const start = data.lastIndexOf(end, at, 'latin1') + 1
    const stop = data.indexOf(end, at, 'latin1')
    const line = data.toString('latin1', start, stop < 0 ? data.length : stop)
    // `alias PATTERN MODULE`, or `MODULE.alias=PATTERN`
    const parts = /^alias (\S+) (\S+)$/.exec(line) ?? /^([^.]+)\.alias=(\S+)$/.exec(line)
    if (parts === null) continue
    const [pattern = '', module = ''] = line.startsWith('alias ') ? [parts[1], parts[2]] : [parts[2], parts[1]]
    const [, device = '', rest = ''] = /^pci:v[^d]+d(\*|[0-9A-F]{8})(sv[\w*]+)$/.exec(pattern) ?? []
    const aliases = devices.get(device)
    if (aliases === undefined) devices.set(device, [{ at, module, rest, line }])
    else aliases.push({ at, module, rest, line })
  }
  return devices
}

/** Patterns hold `*` only between fixed fields, so fields and a final `*` are all there is to compare. */
function matches(pattern: string, text: string): boolean {
  return new RegExp(`^${pattern.replaceAll('*', '[0-9A-F]*')}$`).test(text)
}
