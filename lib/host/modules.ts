import type { Reader } from './reader.ts'

/** What a PCI function is matched by. IDs are lower-case hex: four digits, the class six. */
export interface ModuleKey {
  vendor: string
  device: string
  subsystem: { vendor: string; device: string } | null
  pciClass: string
}

export interface ModuleTables {
  /** For each function the modules that could claim it, in the order of the tables; `null` when none is readable. */
  claiming(keys: readonly ModuleKey[]): (string[] | null)[]
  /** Per table read: its path and the records that matched so far. */
  excerpts(): Map<string, string>
}

interface Table {
  path: string
  text: string
  form: Form
  used: Map<number, string>
}

/** How a table writes `pattern → module`. */
interface Form {
  name: string
  expression(ids: string): RegExp
}

// `alias PATTERN MODULE` a line.
const MODULES: Form = {
  name: 'modules.alias',
  expression: (ids) => new RegExp(`^alias pci:v(?:${ids})sv\\S* (?<module>\\S+)\\n?`, 'gm'),
}
// `MODULE.alias=PATTERN`, each ended by NUL.
const BUILTIN: Form = {
  name: 'modules.builtin.modinfo',
  expression: (ids) => new RegExp(`(?<=^|\\0)(?<module>[^.\\0]+)\\.alias=pci:v(?:${ids})sv[^\\0]*\\0?`, 'g'),
}

/**
 * depmod's tables for one kernel release: modules, and drivers built into the kernel. The first of `readers` that has
 * a table gives it.
 * Source: depmod(8), Documentation/kbuild/kbuild.rst, and file2alias.c for the form of `pci:` patterns.
 */
export function readModuleTables(readers: readonly Reader[], release: string | undefined): ModuleTables {
  const tables: Table[] = []
  for (const form of release === undefined ? [] : [MODULES, BUILTIN]) {
    for (const folder of [`/lib/modules/${release}`, `/usr/lib/modules/${release}`]) {
      const path = `${folder}/${form.name}`
      const data = readers.map((reader) => reader.optionalBytes(path)).find((found) => found !== undefined)
      if (data === undefined) continue
      tables.push({ path, text: data.toString('latin1'), form, used: new Map() })
      break
    }
  }
  return {
    claiming: (keys) => claiming(tables, keys),
    excerpts: () =>
      new Map(
        tables.map(({ path, used }) => {
          const records = [...used].sort(([one], [other]) => one - other)
          return [path, records.map(([, record]) => record).join('')]
        }),
      ),
  }
}

/** One pass over each table finds the patterns of all the functions' IDs; then only those are compared. */
function claiming(tables: readonly Table[], keys: readonly ModuleKey[]): (string[] | null)[] {
  if (tables.length === 0) return keys.map(() => null)
  const ids = idExpression(keys)
  const aliases = tables.flatMap((table) => {
    const records = [...table.text.matchAll(table.form.expression(ids))]
    return records.map((record) => ({ table, record, pattern: aliasExpression(record) }))
  })
  const known = new Map<string, string[]>()
  return keys.map((key) => {
    const modalias = modaliasOf(key)
    let modules = known.get(modalias)
    if (modules === undefined) {
      const matching = aliases.filter(({ pattern }) => pattern.test(modalias))
      for (const { table, record } of matching) table.used.set(record.index ?? 0, record[0])
      modules = [...new Set(matching.map(({ record }) => record.groups?.module ?? ''))]
      known.set(modalias, modules)
    }
    return modules
  })
}

/** `000010DEd(?:\*|00001CB6|…)|…|\*d\*`: the start of every pattern that could match one of the functions. */
function idExpression(keys: readonly ModuleKey[]): string {
  const vendors = new Map<string, Set<string>>()
  for (const { vendor, device } of keys) {
    const devices = vendors.get(vendor) ?? new Set()
    vendors.set(vendor, devices.add(upper(device)))
  }
  const each = [...vendors].map(([vendor, devices]) => `${upper(vendor)}d(?:\\*|${[...devices].join('|')})`)
  return [...each, '\\*d\\*'].join('|')
}

/** The pattern of a record as an expression: `*` stands for any digits, everything else for itself. */
function aliasExpression(record: RegExpMatchArray): RegExp {
  const [, pattern = ''] = /(pci:v[^\s\0]+)/.exec(record[0]) ?? []
  return new RegExp(`^${pattern.replace(/[^\w:*]/g, '\\$&').replaceAll('*', '[0-9A-F]*')}$`)
}

function upper(id: string | undefined): string {
  return (id ?? '').toUpperCase().padStart(8, '0')
}

function modaliasOf({ vendor, device, subsystem, pciClass }: ModuleKey): string {
  const [base, sub, progIf] = (pciClass.toUpperCase().match(/../g) ?? []) as string[]
  const subsystemPart = `sv${upper(subsystem?.vendor)}sd${upper(subsystem?.device)}`
  return `pci:v${upper(vendor)}d${upper(device)}${subsystemPart}bc${base}sc${sub}i${progIf}`
}
