import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Option } from '../../lib/terminal/options.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { has, PROJECT, runProgram, runScript } from '../support/run.ts'

const SCRIPTS = readdirSync(`${PROJECT}scripts`)
  .filter((name) => name.endsWith('.mts'))
  .map((name) => name.replace('.mts', ''))

const optionsOf = (name: string): string[] =>
  JSON.parse(runScript(name, ['--help', '--json']).stdout).options.map((one: Option) => `--${one.name}`)

const PCI = '/sys/bus/pci/devices'
const devices = existsSync(PCI) ? readdirSync(PCI).map((address) => address.replace(/^0000:/, '')) : []
/** A device that all but its last digit tells from the others. */
const telling = devices.find((one) => devices.filter((other) => other.startsWith(one.slice(0, -1))).length === 1)

const folder = join(newFolder(), 'captured')
mkdirSync(folder)
writeFileSync(join(folder, 'card.rom'), '')

/** What is typed before the Tab key, and what is then on the command line. */
const TYPED: [typed: string, completed: string][] = [
  ...SCRIPTS.map((name): [string, string] => [`${name} --vers`, '--version']),
  ['bind-vfio --ap', '--apply'],
  ['bind-vfio.mjs 01:00 --ap', '01:00 --apply'],
  ['list-iommu --format tr', '--format tree'],
  ['list-iommu --format=tr', '--format=tree'],
  ['tune-host --hugepages 16G --prefer fr', '--hugepages 16G --prefer frequency'],
  ['bind-vfio --apply --initramfs drac', '--apply --initramfs dracut'],
  [`check-host --rom ${folder}/ca`, `--rom ${folder}/card.rom`],
  [`list-iommu --machine ${folder.slice(0, -3)}`, `--machine ${folder}`],
  ...(telling === undefined
    ? []
    : ([
        [`bind-vfio ${telling.slice(0, -1)}`, telling],
        [`check-host --device ${telling.slice(0, -1)}`, `--device ${telling}`],
      ] as [string, string][])),
]

/** Functions that say with which arguments each command was called. */
const commands = [...SCRIPTS, ...SCRIPTS.map((name) => `${name}.mjs`)].map((name) => `${name}() { echo "got<$*>"; }`)

/** The commands that an interactive shell ran when these lines were typed, each with Tab before Enter. */
function type(shell: string, env: NodeJS.ProcessEnv): string[] {
  const { stdout } = spawnSync('script', ['--quiet', '--echo', 'never', '--command', shell, '/dev/null'], {
    input: `${TYPED.map(([typed]) => `${typed}\t\n`).join('')}exit\n`,
    encoding: 'utf8',
    timeout: 60_000,
    env: { ...process.env, TERM: 'dumb', ...env },
  })
  return [...stdout.matchAll(/got<(.*?)\/?>\r?$/gm)].map(([, typed = '']) => typed)
}

needs('script').describe('what the Tab key completes', () => {
  const expected = TYPED.map(([, completed]) => completed)

  it('in bash', () => {
    const rc = join(newFolder(), 'rc')
    const sources = SCRIPTS.map((name) => `source ${PROJECT}completions/bash/${name}`)
    writeFileSync(rc, [...sources, ...commands, ''].join('\n'))
    expect(type(`bash --noprofile --rcfile ${rc} -i`, {})).toEqual(expected)
  })

  needs('zsh').it('in zsh', () => {
    const home = newFolder()
    const start = [`fpath=(${PROJECT}completions/zsh $fpath)`, 'autoload -Uz compinit', 'compinit -D -u']
    writeFileSync(join(home, '.zshrc'), [...start, ...commands, ''].join('\n'))
    expect(type('zsh -i', { ZDOTDIR: home })).toEqual(expected)
  })
})

/** What fish offers for a command line: `value<Tab>description` a line. */
function fish(line: string): string[] {
  const sources = SCRIPTS.map((name) => `source ${PROJECT}completions/fish/${name}.fish`)
  const ran = runProgram('fish', ['--no-config', '-c', [...sources, `complete -C "${line}"`].join('\n')])
  expect(ran.stderr).toBe('')
  return ran.stdout
    .trim()
    .split('\n')
    .map((offer) => offer.split('\t')[0] ?? '')
}

/** What the bash function of a script offers. */
function bash(line: string): string[] {
  const name = line.split(' ')[0] ?? ''
  const body = `source ${PROJECT}completions/bash/${name}
    COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDBREAKS=
    _${name.replaceAll('-', '_')}; printf '%s\\n' "\${COMPREPLY[@]}"`
  const ran = runProgram('bash', ['-c', body, 'bash', line])
  expect(ran.stderr).toBe('')
  return ran.stdout.trim().split('\n')
}

describe.each([
  ['bash', bash],
  ['fish', fish],
] as const)('%s', (shell, complete) => {
  needs(shell).it.each(SCRIPTS)('offers every option of %s', (name) => {
    expect(complete(`${name} --`).sort()).toEqual(optionsOf(name).sort())
  })

  needs(`${shell} and PCI devices`, has(shell) && devices.length > 0).it(
    'offers the PCI devices of this machine',
    () => {
      expect(complete('bind-vfio ').sort()).toEqual([...devices].sort())
    },
  )
})

needs('fish').it('fish completes what the others do', () => {
  for (const [typed, completed] of TYPED) {
    const last = completed.split(' ').at(-1) ?? ''
    expect(fish(typed).map((offer) => offer.replace(/\/$/, ''))).toContain(last)
  }
})

needs('shellcheck').it('shellcheck finds nothing in the completions for bash', () => {
  const files = SCRIPTS.map((name) => `${PROJECT}completions/bash/${name}`)
  expect(runProgram('shellcheck', ['--shell=bash', ...files])).toEqual({ code: 0, stdout: '', stderr: '' })
})

it('--help --json is one document with all that --help says', () => {
  const { code, stdout, stderr } = runScript('bind-vfio', ['--help', '--json'])
  const { schema, name, options, exits } = JSON.parse(stdout)
  expect({ code, stderr, schema, name }).toEqual({
    code: 0,
    stderr: '',
    schema: 'vfio-scripts/help/1',
    name: 'bind-vfio',
  })
  const help = runScript('bind-vfio', ['--help']).stdout
  for (const one of options as Option[]) expect(help).toMatch(new RegExp(`^  (?:-h, )?--${one.name} `, 'm'))
  for (const meaning of exits) expect(help).toContain(meaning)
})
