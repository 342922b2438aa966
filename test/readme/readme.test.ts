import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseArguments, type Script } from '../../lib/terminal/options.ts'
import { host } from '../support/checking.ts'
import { needs } from '../support/needs.ts'
import { blocksOf, commandsOf, oneDomain, readmeSystem, sandbox, skeletonOf, transcriptOf } from '../support/readme.ts'
import { PROJECT, runProgram, runScript } from '../support/run.ts'
import { snapshotOf, systemDir, writeIn } from '../support/system.ts'

const SCRIPTS = readdirSync(`${PROJECT}scripts`)
  .filter((name) => name.endsWith('.mts'))
  .map((name) => name.replace('.mts', ''))
const tables = new Map(
  SCRIPTS.map((name) => [name, JSON.parse(runScript(name, ['--help', '--json']).stdout) as Script]),
)

/** The pages of the front door. */
const PAGES = readdirSync(PROJECT).filter((name) => name.endsWith('.md'))
/** Their commands are those of the README: see below. */
const TRANSLATIONS = PAGES.filter((page) => /^README\.\w+\.md$/.test(page))
const textOf = (page: string): string => readFileSync(PROJECT + page, 'utf8')

/** What is only parsed, and why. */
const NOT_RUN: [RegExp, string][] = [
  [/--choose/, 'asks on a terminal'],
  [/--now --apply/, 'changes a running machine'],
  [/--dump-rom .*--apply/, 'reads the ROM of a running machine'],
  [/^bash \.ci\/run/, 'runs these tests'],
  [/^npx vitest/, 'runs these tests'],
]

/** Throws the error that a person would see when an option of one of our scripts in this command is wrong. */
function expectOptions(command: string): void {
  // bash splits it as it would; what is inside $(…) or other quotes is left alone.
  const plain = command.replace(/ > \S+/g, '')
  const shell = `set -f; ${SCRIPTS.map((name) => `${name}() { printf '%s\\0' "$@"; }`).join('; ')}; { ${plain.replace(/ *#.*/, '')}\n} </dev/null`
  const script = SCRIPTS.find((name) => new RegExp(`(^|[|] )${name} `).test(command)) ?? ''
  const words = runProgram('bash', ['-c', shell])
  expect(words.code, `${command}\n${words.stderr}`).toBe(0)
  const table = tables.get(script)
  if (table !== undefined) parseArguments(table, words.stdout.split('\0').slice(0, -1))
}

/** The machine on which a page shows a command. */
function systemOf(command: string): string {
  if (!command.startsWith('check-host')) return oneDomain(readmeSystem())
  return host({
    'etc/group': 'kvm:x:104:ann\nlibvirt:x:105:\n',
    'etc/modprobe.d/vfio.conf': 'options vfio-pci ids=10de:1cb6, 10de:0fb9\n',
    'usr/share/OVMF/OVMF_CODE_4M.fd': null,
  })
}

const named = new RegExp(`^(${SCRIPTS.join('|')}) `)

describe.each(PAGES.filter((page) => !TRANSLATIONS.includes(page)))('%s', (page) => {
  const blocks = blocksOf(textOf(page)).filter(({ language }) => ['sh', 'console', 'bash'].includes(language))

  needs('jq').it('its commands run', () => {
    const run = sandbox(SCRIPTS)
    const system = readmeSystem()
    const twins = systemDir({ machine: 'twin-gpus' })
    const server = systemDir({ machine: 'sriov-nic', files: { 'usr/lib/systemd/systemd': '' } })
    const machineOf = (command: string): string => (/--vfs|--sriov|--undo vfs/.test(command) ? server : system)
    for (const command of blocks.filter(({ language }) => language !== 'console').flatMap(commandsOf)) {
      if (NOT_RUN.some(([pattern]) => pattern.test(command))) {
        if (SCRIPTS.some((name) => command.includes(`${name} `))) expectOptions(command)
        continue
      }
      const { code, stdout, stderr } = run(command, command.startsWith('override') ? twins : machineOf(command))
      // 1 is an answer: a plan that was not applied, nothing found.
      expect(code, `${command}\n${stdout}${stderr}`).toBeLessThan(2)
      expect(stderr, command).not.toMatch(/not found|No such file|nothing matches|no such device/)
    }
  })

  it('what it shows is what is printed', () => {
    for (const block of blocks.filter(({ language }) => language === 'console')) {
      const { command, shown } = transcriptOf(block)
      const system = systemOf(command)
      const { stdout } = sandbox(SCRIPTS)(command, system)
      expect(stdout.replaceAll(` --root ${system}`, '')).toMatch(shown)
    }
  })
})

describe.each(PAGES)('%s', (page) => {
  it('the options that its text names exist', () => {
    const commands = [...textOf(page).matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? '')
    for (const command of commands.filter((text) => named.test(text))) expectOptions(command)
  })

  it('the files that it links to exist', () => {
    const links = [...textOf(page).matchAll(/\]\(([^):#]+)\)/g)].map((match) => match[1] ?? '')
    expect(links.filter((link) => !existsSync(join(dirname(PROJECT + page), link)))).toEqual([])
  })
})

it.each(TRANSLATIONS)('%s says what the README says', (page) => {
  expect(skeletonOf(textOf(page))).toEqual(skeletonOf(textOf('README.md')))
})

needs('tar').it('a capture is enough for a domain: it is what the host itself would print', () => {
  const run = sandbox(SCRIPTS)
  const system = oneDomain(readmeSystem())
  // As a host with libvirt 9.0 and QEMU 7.2 is known by its files.
  for (const path of ['usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0', 'usr/share/qemu/firmware/x'])
    writeIn(system, path, '')
  const blocks = blocksOf(textOf('README.md')).flatMap((block) => (block.language === 'sh' ? commandsOf(block) : []))
  const leg = blocks.filter((command) => /(--capture|--root|tar -cf-) seen/.test(command))
  expect(leg.map((command) => run(command, system).code)).toEqual([0, 0, 0, 0])
  const there = run(`${leg.at(-1)?.replace('--root seen ', '').replace('vm.xml', 'there.xml')}`, system)
  expect(there.code).toBe(0)
  expect(run('cat vm.xml', system).stdout).toMatch(/<vcpupin[\s\S]*<hostdev/)
  expect(run('diff vm.xml there.xml', system)).toMatchObject({ code: 0, stdout: '' })
})

it('the steps on a rescue medium take a binding back', () => {
  const run = sandbox(SCRIPTS)
  const system = oneDomain(readmeSystem())
  const before = snapshotOf(join(system, 'etc'))
  expect(run('bind-vfio 02:00 --apply', system).code).toBe(0)
  expect(snapshotOf(join(system, 'etc'))).not.toBe(before)
  const steps = blocksOf(textOf('README.md')).find(({ text }) => text.startsWith('cryptsetup '))
  const last = (steps === undefined ? [] : commandsOf(steps)).map((command) => run(command, system)).at(-1)
  expect(snapshotOf(join(system, 'etc'))).toBe(before)
  // A fake system has no /proc to make images again with.
  expect(last?.stderr).toContain('not run: mount /proc, /sys and /dev')
})

it('the README has command blocks of both kinds', () => {
  const blocks = blocksOf(textOf('README.md'))
  expect(blocks.filter(({ language }) => language === 'sh').flatMap(commandsOf).length).toBeGreaterThan(20)
  expect(blocks.filter(({ language }) => language === 'console').length).toBeGreaterThan(1)
})

it('wrong commands would be seen', () => {
  expect(() => expectOptions('bind-vfio 01:00 --aply')).toThrow('no such option')
  expect(() => expectOptions('list-iommu --format treee')).toThrow('must be one of')
  const run = sandbox(SCRIPTS)
  expect(run('ssh server node list-iommu.mjs', readmeSystem()).code).toBe(1)
  expect(run('npm run no-such-script', '').code).toBe(1)
  expect(transcriptOf({ language: 'console', text: '$ x\na\n…\nb\n' }).shown.test('a\n1\nb\nc\n')).toBe(false)
})
