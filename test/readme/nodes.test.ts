// The built scripts alone in a folder: under every Node, and started in every way.
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { copyScript, newFolder, SCRIPTS, type ScriptName } from '../support/expect.ts'
import { machineDir } from '../support/machine.ts'
import { sampleOf } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram, runScript } from '../support/run.ts'
import { snapshotOf, systemDir } from '../support/system.ts'

const machine = machineDir('i9-14900k-vmd')
/** Done or healthy, the answer is no, could not; with all that each prints. */
const QUESTIONS: Record<string, Record<ScriptName, string[]>> = {
  version: { 'list-iommu': ['--version'], 'check-reset': ['--version'] },
  help: { 'list-iommu': ['--help'], 'check-reset': ['--help'] },
  'a whole listing': { 'list-iommu': ['--usb-ports', '--json'], 'check-reset': [] },
  'a listing for people': { 'list-iommu': ['--format=tree'], 'check-reset': ['--json', '02:00'] },
  'an answer that is no': { 'list-iommu': ['--id', 'dead:beef'], 'check-reset': ['--id', 'dead:beef'] },
  'a wrong option': { 'list-iommu': ['--json', '--no-such'], 'check-reset': ['--group='] },
}
const questions = SCRIPTS.flatMap((script) =>
  Object.entries(QUESTIONS).map(([what, args]) => ({ script, what, args: ['--machine', machine, ...args[script]] })),
)

const given = process.env.VFIO_TEST_NODES
const nodes: [name: string, node: string][] = [['the running one', process.execPath]]
for (const name of given === undefined ? [] : readdirSync(given).sort()) {
  const node = join(given ?? '', name, 'bin/node')
  if (existsSync(node)) nodes.push([name, node])
}
const versions = nodes.map(([name, node]) => [name, node, runProgram(node, ['--version']).stdout.trim()] as const)
const alone = { 'list-iommu': copyScript('list-iommu'), 'check-reset': copyScript('check-reset') }

it('there is no node_modules above the copied scripts', () => {
  for (let at = dirname(alone['list-iommu']); at !== '/'; at = dirname(at)) {
    expect(existsSync(join(at, 'node_modules'))).toBe(false)
  }
})

const tried = versions.map(([, , version]) => version).join(', ')
it(`tried: ${given === undefined ? `only the running Node, ${tried}; VFIO_TEST_NODES names no others` : tried}`, () => {
  for (const version of tried.split(', ')) expect(version).toMatch(/^v\d+\.\d+\.\d+$/)
  // A folder that was named but holds none would prove nothing.
  if (given !== undefined) expect(versions.length).toBeGreaterThan(1)
})

describe.each(versions)('Node: %s', (_name, node, version) => {
  it.each(questions)(`${version}: $script alone: $what`, ({ script, args }) => {
    const cwd = dirname(alone[script])
    expect(runProgram(node, [alone[script], ...args], { cwd })).toEqual(runScript(script, args))
  })
})

/** bind-vfio plans, applies, and takes back, with nothing but itself. */
function expectBinds(run: (...args: string[]) => Ran): void {
  const dir = systemDir({ machine: 'i9-14900k-vmd', iommuByDefault: false })
  const before = snapshotOf(join(dir, 'etc'))
  expect(run('--root', dir, '02:00')).toMatchObject({ code: 1, stderr: '' })
  expect(run('--root', dir, '02:00', '--apply', '--no-commands')).toMatchObject({ code: 0, stderr: '' })
  expect(snapshotOf(join(dir, 'etc'))).not.toBe(before)
  expect(run('--root', dir, '--status').code).toBe(1)
  expect(run('--root', dir, '--undo', '--apply', '--no-commands')).toMatchObject({ code: 0, stderr: '' })
  expect(snapshotOf(join(dir, 'etc'))).toBe(before)
}

describe('bind-vfio alone', () => {
  const script = copyScript('bind-vfio')
  const cwd = dirname(script)

  it.each(versions)('Node: %s', (_name, node) => {
    expectBinds((...args) => runProgram(node, [script, ...args], { cwd }))
  })

  it('zx, with a shell and a prefix of somebody else', () => {
    const env = { NODE_OPTIONS: undefined, ZX_SHELL: '/bin/false', ZX_PREFIX: 'exit 1;' }
    expectBinds((...args) => runProgram(`${PROJECT}node_modules/.bin/zx`, ['--quiet', script, ...args], { cwd, env }))
  })
})

describe('started in other ways', () => {
  const expected = (script: ScriptName, args: string[]): Ran => runScript(script, args)
  const bin = newFolder()
  mkdirSync(join(bin, 'empty'))
  for (const script of SCRIPTS) symlinkSync(alone[script], join(bin, script))
  const zx = `${PROJECT}node_modules/.bin/zx`
  const some = sampleOf(questions, 5)

  it('the questions have all three answers', () => {
    const codes = questions.map(({ script, args }) => expected(script, args).code)
    expect([...new Set(codes)].sort()).toEqual([0, 1, 2])
  })

  it.each(some)('./$script.mjs: $what', ({ script, args }) => {
    const ran = runProgram(`./${script}.mjs`, args, { cwd: dirname(alone[script]) })
    expect(ran).toEqual(expected(script, args))
  })

  it.each(some)('$script, a link in a folder of PATH: $what', ({ script, args }) => {
    const env = { PATH: [bin, dirname(process.execPath), process.env.PATH].join(delimiter) }
    expect(runProgram('sh', ['-c', 'exec "$0" "$@"', script, ...args], { env, cwd: '/' })).toEqual(
      expected(script, args),
    )
  })

  it.each(some)('zx $script.mjs, zx --quiet $script.mjs: $what', ({ script, args }) => {
    const env = { NODE_OPTIONS: undefined }
    const cwd = join(bin, 'empty')
    expect(runProgram(zx, [alone[script], ...args], { env, cwd })).toEqual(expected(script, args))
    expect(runProgram(zx, ['--quiet', alone[script], ...args], { env, cwd })).toEqual(expected(script, args))
  })

  it.each(questions.filter(({ what }) => what === 'a whole listing'))(
    'npx zx scripts/$script.mjs',
    ({ script, args }) => {
      const ran = runProgram('npx', ['zx', `scripts/${script}.mjs`, ...args], { cwd: PROJECT })
      // npm may have something of its own to say on standard error.
      expect({ code: ran.code, stdout: ran.stdout }).toEqual({
        code: expected(script, args).code,
        stdout: expected(script, args).stdout,
      })
    },
  )
})
