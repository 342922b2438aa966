import { existsSync, mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { argumentsOf, combinations, refusals, situationOf, title } from './combinations.ts'
import { domainHost, genDomain } from './domain.ts'
import { expectError } from './expect.ts'
import { SITUATION_NAMES, type SituationName } from './firmware.ts'
import { scratchDir } from './machine.ts'
import { needs } from './needs.ts'
import { pairsOf, pairwise, type Row } from './pairs.ts'
import { has, runProgram } from './run.ts'

const hosts = Object.fromEntries(SITUATION_NAMES.map((name) => [name, domainHost(undefined, name)])) as Record<
  SituationName,
  string
>
const ask = (row: Row, libvirt: string, qemu: string) =>
  genDomain(hosts[situationOf(row)], '--name', 'vm', ...argumentsOf(row), '--libvirt', libvirt, '--qemu', qemu)

describe('pairwise', () => {
  const factors = { a: ['1', '2', '3'], b: ['1', '2'], c: ['1', '2', '3', '4'] }
  const excluded = (row: Row): boolean => row.a === '3' && row.c === '1'

  it('has every pair that may be, none that may not, and less than all', () => {
    const rows = pairwise(factors, excluded)
    const pairs = new Set(rows.flatMap(pairsOf).map((pair) => JSON.stringify(pair)))
    expect(rows.filter(excluded)).toEqual([])
    expect(pairs.size).toBe(3 * 2 + 3 * 4 - 1 + 2 * 4)
    expect(rows.length).toBeLessThan(24)
    expect(pairwise(factors, excluded)).toEqual(rows)
  })
})

/** Where virt-xml-validate finds it. */
const SCHEMA = '/usr/share/libvirt/schemas/domain.rng'

describe.each([
  ['9.0.0', '7.2.0'],
  ['4.0.0', '2.11.0'],
])('options combined, for libvirt %s', (libvirt, qemu) => {
  it('what cannot be is refused in a line that says why', () => {
    for (const { pair, says } of refusals(libvirt)) {
      const ran = ask(pair, libvirt, qemu)
      expect([title(pair), ran.stderr]).toEqual([title(pair), expect.stringMatching(says)])
      expectError(ran)
    }
  })

  const rows = combinations(libvirt)
  it(`all else is written: ${rows.length} domains`, () => {
    const ran = rows.map((row) => [title(row), ask(row, libvirt, qemu)] as const)
    expect(ran.filter(([, { code }]) => code !== 0).map(([name, { stderr }]) => `${name}: ${stderr}`)).toEqual([])
  })

  needs('virt-xml-validate', has('xmllint') && existsSync(SCHEMA)).it("libvirt's schema accepts them", () => {
    const folder = mkdtempSync(join(scratchDir('combinations'), 'xml-'))
    const files = rows.map((row, index) => {
      const file = join(folder, `${index}.xml`)
      writeFileSync(file, ask(row, libvirt, qemu).stdout)
      return file
    })
    const { stderr } = runProgram('xmllint', ['--noout', '--relaxng', SCHEMA, ...files])
    const bad = stderr.split('\n').filter((line) => line !== '' && !line.endsWith(' validates'))
    const names = bad.map((line) => line.replace(/^\S+?(\d+)\.xml/, (_, index) => title(rows[Number(index)] ?? {})))
    expect(names).toEqual([])
  })
})
