// README.md, CONTRIBUTING.md, every page of docs/ and of examples: their commands, what they show, their options and links. A new
// page is tested by being there; see `Block` in test/support/pages.ts for what a page can say of a block.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseArguments, type Script } from '../../lib/terminal/options.ts'
import { needs } from '../support/needs.ts'
import { type Block, blocksOf, commandsOf, headingsOf, skeletonOf, transcriptOf } from '../support/pages.ts'
import { oneDomain, readmeSystem, sandbox, serverSystem, shownSystem } from '../support/readme.ts'
import { PROJECT, runProgram, runScript } from '../support/run.ts'
import { snapshotOf, systemDir, writeIn } from '../support/system.ts'

const SCRIPTS = readdirSync(`${PROJECT}scripts`)
  .filter((name) => name.endsWith('.mts'))
  .map((name) => name.replace('.mts', ''))
const tables = new Map(
  SCRIPTS.map((name) => [name, JSON.parse(runScript(name, ['--help', '--json']).stdout) as Script]),
)

const PAGES = ['', 'docs/', 'examples/ansible/', 'examples/fleet-report/'].flatMap((folder) =>
  readdirSync(PROJECT + folder)
    .filter((name) => name.endsWith('.md'))
    .map((name) => folder + name),
)
/** Their commands are those of the page without the language in its name: see below. */
const TRANSLATIONS = PAGES.filter((page) => /\.\w\w\.md$/.test(page))
const ORIGINALS = PAGES.filter((page) => !TRANSLATIONS.includes(page))
const textOf = (page: string): string => readFileSync(PROJECT + page, 'utf8')
const SHELLS = ['sh', 'console', 'bash']
const shellBlocks = (page: string): Block[] =>
  blocksOf(textOf(page)).filter(({ language }) => SHELLS.includes(language))
const isShown = ({ language, parsed }: Block): boolean => language === 'console' && !parsed

/** What is only parsed, and why. */
const NOT_RUN: [RegExp, string][] = [
  [/--choose/, 'asks on a terminal'],
  [/--now --apply/, 'changes a running machine'],
  [/--dump-rom .*--apply/, 'reads the ROM of a running machine'],
  [/^bash \.ci\/run/, 'runs these tests'],
  [/^(\w+=\S+ )?npx vitest/, 'runs these tests'],
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

const named = new RegExp(`^(${SCRIPTS.join('|')}) `)
const withCommands = ORIGINALS.filter((page) => shellBlocks(page).some((block) => !isShown(block)))

needs('jq').describe('its commands run', () => {
  it.each(withCommands)('%s', (page) => {
    const run = sandbox(SCRIPTS)
    const system = readmeSystem()
    const twins = systemDir({ machine: 'twin-gpus' })
    const server = serverSystem()
    const usual = (command: string): string => {
      if (command.startsWith('override')) return twins
      return /--vfs?\b|--sriov|--undo vfs|web\.xml|3b:0/.test(command) ? server : system
    }
    for (const block of shellBlocks(page).filter((each) => !isShown(each))) {
      const given = block.on === undefined ? undefined : shownSystem(block.on)
      for (const command of commandsOf(block)) {
        if (block.parsed || NOT_RUN.some(([pattern]) => pattern.test(command))) {
          if (SCRIPTS.some((name) => command.includes(`${name} `))) expectOptions(command)
          continue
        }
        const { code, stdout, stderr } = run(command, given ?? usual(command))
        // 1 is an answer: a plan that was not applied, nothing found.
        expect(code, `${command}\n${stdout}${stderr}`).toBeLessThan(2)
        expect(stderr, command).not.toMatch(/not found|No such file|nothing matches|no such device/)
      }
    }
  })
})

describe('what it shows is what is printed', () => {
  it.each(ORIGINALS.filter((page) => shellBlocks(page).some(isShown)))('%s', (page) => {
    for (const block of shellBlocks(page).filter(isShown)) {
      const { command, shown } = transcriptOf(block)
      const system = block.on === undefined ? oneDomain(readmeSystem()) : shownSystem(block.on)
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

  it('the files and headings that it links to exist', () => {
    const links = [...textOf(page).matchAll(/\]\(([^):]+)\)/g)].map((match) => match[1] ?? '')
    const missing = links.filter((link) => {
      const [path = '', heading] = link.split('#')
      const file = path === '' ? PROJECT + page : join(dirname(PROJECT + page), path)
      if (!existsSync(file)) return true
      return heading !== undefined && !headingsOf(readFileSync(file, 'utf8')).includes(heading)
    })
    expect(missing).toEqual([])
  })
})

it.each(TRANSLATIONS)('%s says what its original says', (page) => {
  expect(skeletonOf(textOf(page))).toEqual(skeletonOf(textOf(page.replace(/\.\w\w\.md$/, '.md'))))
})

describe('the README', () => {
  it('is short', () => {
    expect(Buffer.byteLength(textOf('README.md'))).toBeLessThanOrEqual(15_000)
    // A sign of Japanese is three bytes.
    expect(Buffer.byteLength(textOf('README.ja.md'))).toBeLessThanOrEqual(20_000)
  })

  needs('npm').it('shows what npm run demo prints', () => {
    const demo = runProgram('npm', ['run', '-s', 'demo', '--', '--gpu', '--card'], { cwd: PROJECT })
    const [example] = shellBlocks('README.md').filter(isShown)
    expect(example?.text).toBe(`$ list-iommu --gpu --card\n${demo.stdout}`)
  })

  needs('tar').it('a capture is enough for a domain: it is what the host itself would print', () => {
    const run = sandbox(SCRIPTS)
    const system = oneDomain(readmeSystem())
    // As a host with libvirt 9.0 and QEMU 7.2 is known by its files.
    for (const path of ['usr/lib/x86_64-linux-gnu/libvirt.so.0.9000.0', 'usr/share/qemu/firmware/x'])
      writeIn(system, path, '')
    const blocks = shellBlocks('docs/many-servers.md').flatMap(commandsOf)
    const leg = blocks.filter((command) => /(--capture|--root|tar -cf-) seen/.test(command))
    expect(leg.map((command) => run(command, system).code)).toEqual([0, 0, 0, 0])
    const there = run(`${leg.at(-1)?.replace('--root seen ', '').replace('vm.xml', 'there.xml')}`, system)
    expect(there.code).toBe(0)
    expect(run('cat vm.xml', system).stdout).toMatch(/<vcpupin[\s\S]*<hostdev/)
    expect(run('diff vm.xml there.xml', system)).toMatchObject({ code: 0, stdout: '' })
  })

  it('its steps on a rescue medium take a binding back', () => {
    const run = sandbox(SCRIPTS)
    const system = oneDomain(readmeSystem())
    const before = snapshotOf(join(system, 'etc'))
    expect(run('bind-vfio 02:00 --apply', system).code).toBe(0)
    expect(snapshotOf(join(system, 'etc'))).not.toBe(before)
    const steps = shellBlocks('README.md').find(({ text }) => text.startsWith('cryptsetup '))
    const last = (steps === undefined ? [] : commandsOf(steps)).map((command) => run(command, system)).at(-1)
    expect(snapshotOf(join(system, 'etc'))).toBe(before)
    // A fake system has no /proc to make images again with.
    expect(last?.stderr).toContain('not run: mount /proc, /sys and /dev')
  })
})

describe('what would go wrong is seen', () => {
  it('pages have command blocks of both kinds', () => {
    const blocks = ORIGINALS.flatMap(shellBlocks)
    expect(blocks.filter((block) => !isShown(block)).flatMap(commandsOf).length).toBeGreaterThan(80)
    expect(blocks.filter(isShown).length).toBeGreaterThan(2)
    expect(blocks.filter(({ parsed }) => parsed).length).toBeLessThan(blocks.length / 4)
  })

  it('wrong commands', () => {
    expect(() => expectOptions('bind-vfio 01:00 --aply')).toThrow('no such option')
    expect(() => expectOptions('list-iommu --format treee')).toThrow('must be one of')
    const run = sandbox(SCRIPTS)
    expect(run('ssh server node list-iommu.mjs', readmeSystem()).code).toBe(1)
    expect(run('npm run no-such-script', '').code).toBe(1)
    expect(run('apt install ./vfio-scripts_0.0.0_all.deb', '').code).toBe(1)
    const text = '$ x\na\n…\nb\n'
    expect(transcriptOf({ text }).shown.test('a\n1\nb\nc\n')).toBe(false)
  })

  it('what would change the machine is not there', () => {
    const run = sandbox(SCRIPTS)
    for (const program of ['systemctl', 'modprobe', 'apt-get', 'update-initramfs'])
      expect(run(`${program} --version`, '')).toMatchObject({ code: 127 })
  })

  it('a heading that is not there', () => {
    expect(headingsOf('# A b\n\n## What is `x`, and (y)?\n```sh\n# not one\n```\n## A b\n')).toEqual([
      'a-b',
      'what-is-x-and-y',
      'a-b-1',
    ])
  })
})
