import { MODULE_FOLDERS } from './kernel.ts'
import type { Reader } from './reader.ts'

/** The IDs by which a PCI function is matched, in lower-case hex: four digits, the class six. */
export interface ModuleKey {
  vendor: string
  device: string
  subsystem: { vendor: string; device: string } | null
  pciClass: string
}

export interface ModuleTables {
  /**
   * Returns for each function the modules that could claim it, in the order of the tables; `null` when none is
   * readable.
   */
  claiming(keys: readonly ModuleKey[]): (string[] | null)[]
  /** Returns the path of each table that was read and the records that matched so far. */
  excerpts(): Map<string, string>
}

interface AliasTable {
  path: string
  text: string
  form: AliasFormat
  used: Map<number, string>
}

/**
 * The form in which a table writes `pattern → module`. It captures `module`, and the fields of the pattern, each `*` or
 * a number.
 */
interface AliasFormat {
  name: string
  expression(ids: string): RegExp
}

// Each line is `alias PATTERN MODULE`.
const MODULES: AliasFormat = {
  name: 'modules.alias',
  expression: (ids) => new RegExp(`^alias ${aliasPattern(ids)} (?<module>\\S+)\\n?`, 'gm'),
}
// Each record is `MODULE.alias=PATTERN`, ended by NUL.
const BUILTIN: AliasFormat = {
  name: 'modules.builtin.modinfo',
  expression: (ids) => new RegExp(`(?<=^|\\0)(?<module>[^.\\0]+)\\.alias=${aliasPattern(ids)}(?:\\0|$)`, 'g'),
}

/**
 * Returns an expression for a whole `pci:` pattern whose vendor and device are among `ids`. The kernel ends most
 * patterns with one more `*`.
 */
function aliasPattern(ids: string): string {
  const field = (name: string): string => `(?<${name}>\\*|[0-9A-F]+)`
  return `pci:v(?<ids>${ids})sv${field('sv')}sd${field('sd')}bc${field('bc')}sc${field('sc')}i${field('i')}\\*?`
}

/**
 * Reads depmod's tables for one kernel release: modules, and drivers built into the kernel. The first of `readers` that
 * has a table gives it.
 * Source: depmod(8), Documentation/kbuild/kbuild.rst, and file2alias.c for the form of `pci:` patterns.
 */
export function readModuleTables(readers: readonly Reader[], release: string | undefined): ModuleTables {
  const tables: AliasTable[] = []
  for (const form of release === undefined ? [] : [MODULES, BUILTIN]) {
    for (const folder of [...MODULE_FOLDERS, '/usr/lib/modules']) {
      const path = `${folder}/${release}/${form.name}`
      const data = readers.map((reader) => reader.optionalBytes(path)).find((found) => found !== undefined)
      if (data === undefined) continue
      tables.push({ path, text: data.toString('latin1'), form, used: new Map() })
      break
    }
  }
  return {
    claiming: (keys) => findModules(tables, keys),
    excerpts: () =>
      new Map(
        tables.map(({ path, used }) => {
          const records = [...used].sort(([one], [other]) => one - other)
          return [path, records.map(([, record]) => record).join('')]
        }),
      ),
  }
}

/**
 * Finds the modules of each function. One pass over each table finds the patterns of all their IDs; then only those are
 * compared.
 */
function findModules(tables: readonly AliasTable[], keys: readonly ModuleKey[]): (string[] | null)[] {
  if (tables.length === 0) return keys.map(() => null)
  const ids = idExpression(keys)
  const aliases = tables.flatMap((table) => {
    const records = [...table.text.matchAll(table.form.expression(ids))]
    return records.map((record) => ({ table, record, pattern: record.groups ?? {} }))
  })
  const known = new Map<string, string[]>()
  return keys.map((key) => {
    const required = modaliasFields(key)
    const name = Object.values(required).join()
    let modules = known.get(name)
    if (modules === undefined) {
      const matching = aliases.filter(({ pattern }) => matchesAlias(pattern, required))
      for (const { table, record } of matching) table.used.set(record.index ?? 0, record[0])
      modules = [...new Set(matching.map(({ pattern }) => pattern.module ?? ''))]
      known.set(name, modules)
    }
    return modules
  })
}

type AliasFields = Record<string, string>

/** Is every field of a pattern `*` or the function's own? */
function matchesAlias(pattern: AliasFields, { vendor, device, ...rest }: AliasFields): boolean {
  const ids = pattern.ids ?? ''
  if (ids !== '*d*' && ids !== `${vendor}d*` && ids !== `${vendor}d${device}`) return false
  for (const name in rest) if (pattern[name] !== '*' && pattern[name] !== rest[name]) return false
  return true
}

/** Returns the fields of a function's modalias. */
function modaliasFields({ vendor, device, subsystem, pciClass }: ModuleKey): AliasFields {
  const [bc = '', sc = '', i = ''] = (pciClass.toUpperCase().match(/../g) ?? []) as string[]
  const [sv, sd] = [paddedHex(subsystem?.vendor), paddedHex(subsystem?.device)]
  return { vendor: paddedHex(vendor), device: paddedHex(device), sv, sd, bc, sc, i }
}

/**
 * Returns an expression for the start of every pattern that could match one of the functions:
 * `000010DEd(?:\*|00001CB6|…)|…|\*d\*`.
 */
function idExpression(keys: readonly ModuleKey[]): string {
  const vendors = new Map<string, Set<string>>()
  for (const { vendor, device } of keys) {
    const devices = vendors.get(vendor) ?? new Set()
    vendors.set(vendor, devices.add(paddedHex(device)))
  }
  const each = [...vendors].map(([vendor, devices]) => `${paddedHex(vendor)}d(?:\\*|${[...devices].join('|')})`)
  return [...each, '\\*d\\*'].join('|')
}

function paddedHex(id: string | undefined): string {
  return (id ?? '').toUpperCase().padStart(8, '0')
}
