import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { PROJECT } from '../support/run.ts'

const page = readFileSync(`${PROJECT}docs/architecture.md`, 'utf8')
const structure = readFileSync(`${PROJECT}test/package/structure.test.ts`, 'utf8')
const rows = [...page.matchAll(/^\| `([^`]+)`/gm)].map(([, path = '']) => path)

it('is one page', () => {
  expect(page.split('\n').length).toBeLessThanOrEqual(120)
})

it('has every folder of lib, from the ground up', () => {
  const layers = structure.slice(structure.indexOf('LAYERS = ['), structure.indexOf(']\n\n'))
  const folders = [...layers.matchAll(/'([\w-]+)'/g)].map(([, name]) => `lib/${name}`)
  expect(rows.filter((path) => /^lib\/[\w-]+$/.test(path))).toEqual(folders)
})

it('has every other folder with code', () => {
  const inner = readdirSync(`${PROJECT}distros`, { withFileTypes: true }).filter((one) => one.isDirectory())
  const expected = ['scripts', 'distros', ...inner.map(({ name }) => `distros/${name}`), 'test']
  expect(rows.filter((path) => !path.startsWith('lib/')).sort()).toEqual(expected.sort())
})

it('names the files that touch the machine, which the rules of imports hold', () => {
  const files = rows.filter((path) => path.endsWith('.ts'))
  expect(files.length).toBe(6)
  for (const file of files) expect(structure).toContain(`'${file}'`)
})

it('names nothing that is not there', () => {
  const paths = [...page.matchAll(/\b(?:lib|distros|scripts|test|docs)(?:\/[\w.-]+)+/g)].map(([path]) =>
    path.replace(/\.$/, ''),
  )
  expect(paths.length).toBeGreaterThan(30)
  expect(paths.filter((path) => !existsSync(PROJECT + path))).toEqual([])
})
