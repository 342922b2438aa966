import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, override, system, tune, write } from '../support/bind.ts'
import { check, host as healthy } from '../support/checking.ts'
import { newFolder, SCRIPTS } from '../support/expect.ts'
import { machineDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram, runScript, works } from '../support/run.ts'
import { faultsOf, schemaOf } from '../support/schema.ts'
import { systemDir } from '../support/system.ts'
import { host } from '../support/tune.ts'

const MACHINES = readdirSync(`${PROJECT}test/machines`)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.replace('.json', ''))

/** The document that a run printed, and what its schema says against it. */
function judged(ran: Ran): { schema: string; faults: string[] } {
  const document = JSON.parse(ran.stdout)
  return { schema: document.schema, faults: faultsOf(document) }
}

describe('what is printed is what its schema says', { concurrent: true }, () => {
  it.each(MACHINES)('of %s', (machine) => {
    const at = ['--machine', machineDir(machine), '--json']
    for (const [script, ...args] of [
      ['list-iommu'],
      ['list-iommu', '--usb-ports'],
      ['list-iommu', '--sriov'],
      ['check-reset'],
      ['override-same-id-gpu'],
      ['check-host'],
      ['bind-vfio', '--predict'],
      ['gen-domain', '--name', 'x', '--guest', 'linux'],
    ] as [string, ...string[]][])
      expect(judged(runScript(script, [...args, ...at])).faults, script).toEqual([])
  })

  it('of changes: plan, apply, status, undo', () => {
    const dir = systemDir(system)
    const said = (...args: string[]): Ran => bind(dir, ...args, '--json')
    for (const args of [['02:00'], ['02:00', ...write], ['--status'], ['--predict'], ['--undo'], ['--undo', ...write]])
      expect(judged(said(...args))).toEqual({ schema: 'vfio-scripts/bind-vfio/1', faults: [] })
    const twins = systemDir({ machine: 'twin-gpus' })
    for (const args of [['05:00'], ['05:00', ...write], ['--status'], []])
      expect(judged(override(twins, ...args, '--json')).faults).toEqual([])
    for (const args of [['--hugepages', '4G'], ['--hugepages', '4G', ...write], ['--status'], ['--undo']])
      expect(judged(tune(host(), ...args, '--json')).faults).toEqual([])
  })

  it('of check-host with a card and with a message', () => {
    for (const args of [
      ['--device', '02:00'],
      ['--explain', 'vfio 0000:01:00.0: group 1 is not viable'],
    ])
      expect(judged(check(healthy(), ...args, '--json'))).toEqual({ schema: 'vfio-scripts/check-host/1', faults: [] })
  })

  it.each(commandNames())('of %s --help, and of an error', (script) => {
    expect(judged(runScript(script, ['--help', '--json']))).toEqual({ schema: 'vfio-scripts/help/1', faults: [] })
    expect(judged(runScript(script, ['--nosuch', '--json']))).toEqual({ schema: 'vfio-scripts/error/1', faults: [] })
  })

  it('of every golden document', () => {
    const golden = `${PROJECT}test/golden`
    const files = readdirSync(golden, { recursive: true })
      .map(String)
      .filter((name) => name.endsWith('.json'))
    expect(files.length).toBeGreaterThan(0)
    for (const file of files) expect(faultsOf(JSON.parse(readFileSync(join(golden, file), 'utf8'))), file).toEqual([])
  })
})

function commandNames(): string[] {
  const { bin } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8'))
  return Object.keys(bin).filter((name) => name !== 'vfio-scripts')
}

describe('a schema', () => {
  const document = JSON.parse(runScript('list-iommu', ['--machine', machineDir('i9-14900k-vmd'), '--json']).stdout)

  it.each<[string, (value: typeof document) => void, RegExp]>([
    ['a member too many', (value) => Object.assign(value.groups[0], { more: 1 }), /groups\/0.*more/],
    ['one that is missing', (value) => delete value.groups[0].devices[0].address, /groups\/0\/devices\/0.*address/],
    ['another type', (value) => Object.assign(value.groups[0], { id: 'one' }), /groups\/0\/id/],
    ['another word', (value) => Object.assign(value.iommu, { kind: 'other kind' }), /iommu\/kind/],
    ['another schema', (value) => Object.assign(value, { schema: 'vfio-scripts/list-iommu/2' }), /schema/],
  ])('sees %s', (_, spoil, says) => {
    const spoiled = structuredClone(document)
    spoil(spoiled)
    expect(faultsOf(spoiled, 'list-iommu').join('\n')).toMatch(says)
  })

  const judge = works('python3', '-c', 'import jsonschema')
  needs('python3 with jsonschema', judge).it('is one, and python-jsonschema finds the same', () => {
    const program = `import json, sys, jsonschema
schema, document = (json.load(open(path)) for path in sys.argv[1:])
jsonschema.Draft7Validator.check_schema(schema)
sys.exit(len(list(jsonschema.Draft7Validator(schema).iter_errors(document))))`
    const file = join(newFolder(), 'document.json')
    runProgram('sh', ['-c', `cat >${file}`], { input: JSON.stringify(document) })
    for (const name of readdirSync(`${PROJECT}docs/schema`).filter((one) => one.endsWith('.json'))) {
      const { code } = runProgram('python3', ['-c', program, `${PROJECT}docs/schema/${name}`, file])
      expect(code === 0, name).toBe(name === 'list-iommu.1.json')
    }
  })

  it('stands there for every document', () => {
    expect(SCRIPTS.length).toBeGreaterThan(0)
    for (const name of [...commandNames(), 'help', 'error'])
      expect(schemaOf(name)).toMatchObject({ title: `vfio-scripts/${name}/1` })
  })
})

needs('VFIO_SCHEMAS=1 and network', process.env.VFIO_SCHEMAS === '1').it(
  'the schemas are those of the types: npm run schemas',
  { timeout: 300_000 },
  () => {
    const folder = newFolder()
    expect(runProgram('node', ['schemas.mjs', folder], { cwd: PROJECT }).code).toBe(0)
    for (const name of readdirSync(folder))
      expect(readFileSync(`${PROJECT}docs/schema/${name}`, 'utf8'), name).toBe(readFileSync(join(folder, name), 'utf8'))
  },
)
