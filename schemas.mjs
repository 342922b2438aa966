// Writes docs/schema/NAME.1.json, the JSON Schema (draft 7) of each document that the scripts print with --json, made
// from its TypeScript type. The generator is fetched when this is called; nothing else needs it.
// @ts-check
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('.', import.meta.url))
const GENERATOR = 'ts-json-schema-generator@2.9.0'

/** Of each document: the files and the types that say what is in it. */
const DOCUMENTS = {
  'list-iommu': [['lib/commands/list-iommu.ts', 'ListIommu']],
  'check-reset': [['lib/commands/check-reset.ts', 'CheckReset']],
  'check-host': [['lib/commands/check-host.ts', 'CheckHost']],
  'gen-domain': [['lib/commands/gen-domain.ts', 'GenDomain']],
  'bind-vfio': [['lib/views/changes.ts', 'BindVfio']],
  'override-same-id-gpu': [
    ['lib/views/changes.ts', 'BindVfio'],
    ['lib/commands/override-same-id-gpu.ts', 'EqualCards'],
  ],
  'tune-host': [['lib/views/changes.ts', 'BindVfio']],
  'hand-over': [['lib/views/changes.ts', 'BindVfio']],
  help: [['lib/terminal/options.ts', 'HelpDocument']],
  error: [['lib/commands/run-script.ts', 'ErrorDocument']],
}

const folder = process.argv[2] ?? join(root, 'docs/schema')
mkdirSync(folder, { recursive: true })
// A compiler that the generator brings does not know all options of ours.
const work = mkdtempSync(join(root, 'node_modules/.schemas-'))
try {
  const made = new Map()
  for (const [name, types] of Object.entries(DOCUMENTS)) {
    const title = `vfio-scripts/${name}/1`
    const parts = types.map(([file = '', type = '']) => {
      if (!made.has(type)) made.set(type, generate(file, type))
      const { $ref, definitions } = structuredClone(made.get(type))
      definitions[type].properties.schema.const = title
      return { $ref, definitions }
    })
    const definitions = Object.assign({}, ...parts.map((part) => part.definitions))
    const refs = parts.map(({ $ref }) => ({ $ref }))
    const document = { $schema: 'http://json-schema.org/draft-07/schema#', $id: title, title, anyOf: refs, definitions }
    writeFileSync(join(folder, `${name}.1.json`), `${JSON.stringify(document, null, 2)}\n`)
  }
} finally {
  rmSync(work, { recursive: true, force: true })
}

/** @param {string} file @param {string} type */
function generate(file, type) {
  const config = join(work, 'tsconfig.json')
  const compilerOptions = {
    ...JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8')).compilerOptions,
    types: [],
  }
  writeFileSync(config, JSON.stringify({ compilerOptions }))
  const args = [
    '--path',
    type === 'GenDomain' ? withoutDevices(file) : join(root, file),
    '--type',
    type,
    '--tsconfig',
    config,
    '--functions',
    'hide',
    '--no-type-check',
  ]
  const ran = spawnSync('npx', ['--yes', GENERATOR, ...args], { encoding: 'utf8', maxBuffer: 1 << 26, cwd: root })
  if (ran.status !== 0) throw new Error(`${type}: ${ran.stderr || ran.error}`)
  return JSON.parse(ran.stdout)
}

/**
 * The generator cannot follow the types of a guest's devices, which are those of what their functions return: of a
 * guest it is told the board only, beside which there is more. @param {string} file
 */
function withoutDevices(file) {
  const own = /^export interface GenDomain \{[\s\S]*?^\}/m.exec(readFileSync(join(root, file), 'utf8'))?.[0] ?? ''
  const path = join(work, 'gen-domain.ts')
  const imports =
    "import type { Finding } from '../../lib/core/finding.ts'\nimport type { GuestBoard } from '../../lib/guest/guest.ts'\n"
  writeFileSync(path, imports + own.replace('guest: Guest |', 'guest: (GuestBoard & { [device: string]: unknown }) |'))
  return path
}
