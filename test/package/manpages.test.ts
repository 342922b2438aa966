import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { Script } from '../../lib/terminal/options.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, runProgram, runScript } from '../support/run.ts'

const { bin } = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8')) as { bin: Record<string, string> }
const commands = Object.keys(bin).filter((name) => name !== 'vfio-scripts')
const pages = [...commands.map((name) => `man/man1/${name}.1`), 'man/man7/vfio-scripts.7']
const help = (name: string): Script => JSON.parse(runScript(name, ['--help', '--json']).stdout)

const OVERSTRUCK = new RegExp(`.${String.fromCharCode(8)}`, 'g')

/** A page as it is read, without marks of bold text. */
const read = (page: string): string =>
  runProgram('mandoc', ['-T', 'utf8', '-O', 'width=200', PROJECT + page]).stdout.replace(OVERSTRUCK, '')

it('every command has a page, and the whole has one', () => {
  const found = ['man/man1', 'man/man7'].flatMap((folder) =>
    readdirSync(PROJECT + folder).map((name) => `${folder}/${name}`),
  )
  expect(found.sort()).toEqual([...pages].sort())
})

needs('mandoc').describe('as mandoc reads them', () => {
  it.each(pages)('%s is clean', (page) => {
    const { stdout } = runProgram('mandoc', ['-T', 'lint', PROJECT + page])
    // Pages that are not installed here cannot be found.
    expect(stdout.replace(/^.*referenced manual not found.*\n/gm, '')).toBe('')
  })

  it.each(commands)('%s(1) has all that --help says', (name) => {
    const { options, exits, examples, summary } = help(name)
    const words = read(`man/man1/${name}.1`).replace(/\s+/g, ' ')
    const said = [...options.map(({ help: what }) => what), ...exits, ...examples.map(([command]) => command), summary]
    for (const one of said) expect(words.toLowerCase()).toContain(one.replace(/\s+/g, ' ').toLowerCase())
    for (const option of options) expect(words).toContain(`--${option.name}`)
    for (const choice of options.flatMap(({ choices = [] }) => choices)) expect(words).toContain(choice)
  })
})

needs('groff').it('groff, which man-db uses, has nothing to say about them', () => {
  for (const page of pages) {
    const { code, stderr } = runProgram('groff', ['-man', '-mdoc', '-Tutf8', '-ww', '-z', PROJECT + page])
    expect({ page, code, stderr }).toEqual({ page, code: 0, stderr: '' })
  }
})

describe('vfio-scripts(7)', () => {
  const page = readFileSync(`${PROJECT}man/man7/vfio-scripts.7`, 'utf8').replaceAll('\\-', '-')
  const shown = [...page.matchAll(/^\.Dl (.*)$/gm)].map(([, command = '']) => command)

  it('names commands and options that there are', () => {
    const own = shown.filter((command) => commands.includes(command.split(' ')[0] ?? ''))
    expect(own.length).toBeGreaterThan(6)
    for (const command of own) {
      const [name = '', ...words] = command.split(' ')
      const known = help(name).options.map((option) => `--${option.name}`)
      for (const word of words.filter((one) => one.startsWith('--'))) expect(known, command).toContain(word)
    }
  })

  it('says of the way out what the README says', () => {
    const readme = readFileSync(`${PROJECT}README.md`, 'utf8')
    for (const part of ['vfio-pci.ids= vfio_scripts.override=off', 'undo.sh --with-later /mnt']) {
      expect(page).toContain(part)
      expect(readme).toContain(part)
    }
  })
})
