import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { VERSION } from '../../lib/core/version.ts'
import { expectError, expectNoTrace, SCRIPTS } from '../support/expect.ts'
import { machineDir } from '../support/machine.ts'
import { PROJECT, runScript } from '../support/run.ts'

const machine = machineDir('i9-14900k-vmd')

/** The arguments, and the one that the error must name. */
const WRONG: [args: string[], named: string][] = [
  [['--json', 'x'], 'x: not a device'],
  [['--json', 'false'], 'false'],
  [['--gpu', 'true'], 'true'],
  [['--group='], '--group'],
  [['--group'], '--group'],
  [['--group', ''], '--group'],
  [['--group', '--json'], '--group'],
  [['--root', '--verbose'], '--root'],
  [['--no-such'], '--no-such'],
  [['--no-such=1'], '--no-such=1'],
  [['--__proto__'], '--__proto__'],
  [['--__proto__=x'], '--__proto__=x'],
  [['--constructor'], '--constructor'],
  [['--group.x', '1'], '--group.x'],
  [['--color=never'], '--color=never'],
  [['--color'], '--color'],
  [['--no-json'], '--no-json'],
  [['--json=no'], '--json=no'],
  [['--no-color=yes'], '--no-color=yes'],
  [['--gpu=1'], '--gpu=1'],
  [['--format', 'nonsense'], '--format nonsense'],
  [['--format=TABLE'], '--format TABLE'],
  [['--root', '/a', '--root', '/b'], '--root'],
  [['--root=/a', '--root=/b'], '--root'],
  [['-x'], '-x'],
  [['-json'], '-json'],
  [['---json'], '---json'],
  [['-'], '-: not a device'],
  [[''], 'empty argument'],
  [['--class', 'zz'], '--class zz'],
  [['--class', '030'], '--class 030'],
  [['--id', '10de'], '--id 10de'],
  [['--id=10de:1cb6:1'], '--id 10de:1cb6:1'],
  [['--group', 'x'], '--group x'],
  [['--group=-1'], '--group -1'],
  [['--group', '1.5'], '--group 1.5'],
  [['01:00.8'], '01:00.8'],
  [['zz:00'], 'zz:00'],
  [['group:'], 'group:'],
  [['01:00.0\n'], '01:00.0\\u000a'],
  [['--json', '--format', 'table'], '--format'],
  [['--', '--json'], '--json'],
  [['--', '--gpu'], '--gpu'],
]

describe.each(SCRIPTS)('%s: wrong usage', (script) => {
  it.each(WRONG)('%j', (args, named) => {
    const ran = runScript(script, ['--machine', machine, ...args])
    if (args[0] !== '--' && args.includes('--json')) {
      expect(ran.code).toBe(2)
      expectNoTrace(ran)
      expect(ran.stderr).toMatch(/^[^\n]+\n$/)
      const { schema, error } = JSON.parse(ran.stdout)
      expect({ schema, code: error.code }).toEqual({ schema: 'vfio-scripts/error/1', code: 'usage' })
      expect(`${script}: ${error.message}\n`).toBe(ran.stderr)
      expect(error.message).toContain(named)
    } else expectError(ran, `${script}: `, named)
  })

  it.each(['--class=zz', '--root=/no/such/folder'])('%s --json answers with a document', (option) => {
    const ran = runScript(script, [option, '--json'])
    expect(ran.code).toBe(2)
    expect(Object.keys(JSON.parse(ran.stdout))).toEqual(['schema', 'error'])
    expect(ran.stderr).toMatch(/^[^\n]+\n$/)
  })
})

describe.each(SCRIPTS)('%s: right usage', (script) => {
  it('-- ends the options', () => {
    const ran = runScript(script, ['--machine', machine, '--json', '--', '02:00.0'])
    expect(ran.stdout).toContain('"0000:02:00.0"')
    expect(JSON.parse(ran.stdout).schema).toBe(`vfio-scripts/${script}/1`)
  })

  it('values in one word or two, flags twice, and operands before options are the same question', () => {
    const ask = (...args: string[]) => runScript(script, [...args, '--machine', machine])
    const once = ask('--driver', 'vfio-pci', '--gpu')
    expect(once.code).toBe(0)
    expect(ask('--driver=vfio-pci', '--gpu', '--gpu')).toEqual(once)
    expect(ask('--gpu', '02:00', '--json')).toEqual(ask('02:00', '--json', '--gpu'))
  })

  it('--help has usage, every option, exit codes and two examples', async () => {
    const { code, stdout, stderr } = runScript(script, ['--help'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    await expect(stdout).toMatchFileSnapshot(`../golden/${script}/help.txt`)
    const files = [`lib/commands/${script}.ts`, 'lib/commands/filter.ts', 'lib/terminal/options.ts']
    const tables = files.map((file) => readFileSync(PROJECT + file, 'utf8'))
    const names = tables.flatMap((text) => [...text.matchAll(/name: '([a-z-]+)',\s+kind:/g)].map((match) => match[1]))
    expect(names.length).toBeGreaterThan(15)
    for (const name of names) expect(stdout).toMatch(new RegExp(`^  (?:-h, )?--${name}( [A-Z]+)?  +\\S`, 'm'))
    expect(stdout.match(/^ {2}[012] {2}\S/gm)).toHaveLength(3)
    expect(stdout.match(new RegExp(`^  ${script} `, 'gm'))).toHaveLength(2)
  })

  it('-h is --help, wherever it stands, and no other letter is an option', () => {
    const help = runScript(script, ['--help'])
    expect(runScript(script, ['-h'])).toEqual(help)
    expect(runScript(script, ['--gpu', '-h', '01:00'])).toEqual(help)
    expect(runScript(script, ['-h', '--json'])).toEqual(runScript(script, ['--help', '--json']))
    for (const args of [['-hx'], ['--', '-h'], ['--driver', '-h']]) expect(runScript(script, args).code).toBe(2)
  })

  it('the examples of --help are right', () => {
    const help = runScript(script, ['--help']).stdout
    for (const [, example = ''] of help.matchAll(new RegExp(`^  ${script} (.*)$`, 'gm'))) {
      const { code } = runScript(script, [...example.split(' '), '--machine', machine])
      expect(code, example).toBeLessThan(2)
    }
  })

  it('--version is that of package.json', () => {
    const { version } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8'))
    expect(VERSION).toBe(version)
    expect(runScript(script, ['--version'])).toEqual({ code: 0, stdout: `${script} ${version}\n`, stderr: '' })
  })
})
