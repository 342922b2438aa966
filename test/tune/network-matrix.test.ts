import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { expectRefused } from '../support/bind.ts'
import type { NetworkCase } from '../support/network-case.ts'
import { IFUPDOWN, OTHERS } from '../support/network-cases-ifupdown.ts'
import { MANAGER } from '../support/network-cases-manager.ts'
import { SYSTEMD } from '../support/network-cases-systemd.ts'
import { bridge, cardHost, tune, write } from '../support/reach.ts'
import { PROJECT } from '../support/run.ts'
import { textOf } from '../support/system.ts'

// What becomes of each configuration, and that docs/networks.md says so.

const ALL = [...IFUPDOWN, ...SYSTEMD, ...MANAGER, ...OTHERS]

const cell = ({ outcome, says }: NetworkCase): string =>
  says === undefined ? outcome : `${outcome}: ${says.replaceAll('|', '\\|')}`

describe('a bridge', { concurrent: true }, () => {
  it.each(ALL.filter(({ outcome }) => outcome === 'moved').map((one) => [one.tool, one.what, one] as const))(
    'by %s: %s is moved',
    (_, __, { tool, files, says = '', wrote = [] }) => {
      const dir = cardHost(files)
      const ran = tune(dir, ...bridge, ...write)
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(ran.stdout).toContain(tool === 'any' ? '' : `set up by ${tool} `)
      expect(ran.stdout).toContain(says)
      if (says === '') expect(ran.stdout).not.toMatch(/another address/)
      for (const [path, ...parts] of wrote)
        for (const part of parts)
          if (part.startsWith('!')) expect(textOf(dir, path)).not.toContain(part.slice(1))
          else expect(textOf(dir, path)).toContain(part)
    },
  )

  it.each(ALL.filter(({ outcome }) => outcome === 'refused').map((one) => [one.tool, one.what, one] as const))(
    'by %s: %s is refused',
    (_, __, { files, says = '' }) => {
      const dir = cardHost(files)
      expectRefused(dir, bridge, says)
    },
  )
})

it('docs/networks.md says what becomes of each', () => {
  const rows = readFileSync(`${PROJECT}docs/networks.md`, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .split(/(?<!\\)\|/)
        .map((one) => one.trim())
        .slice(1, -1),
    )
  const said = rows.filter(([tool]) => ALL.some((one) => one.tool === tool))
  expect(said).toEqual(ALL.map((one) => [one.tool, one.what, cell(one)]))
})
