import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, card, expectRan } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { evaluateModule, HAS_NIX, parseNix } from '../support/nix.ts'
import type { Ran } from '../support/run.ts'
import { type System, snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const file = 'etc/nixos/vfio.nix'
const apply = (dir: string, ...args: string[]): Ran => bind(dir, ...args, '--output', `/${file}`, '--apply')
const host = (more: Partial<System>): string =>
  systemDir({ machine: 'i9-14900k-vmd', family: 'nixos', iommuByDefault: false, ...more })
const moduleOf = (dir: string): string => textOf(dir, file) ?? ''

const params = 'nix/store/00000000000000000000000000000000-nixos-system-host-25.11/kernel-params'

describe('a list of IDs that the configuration has already', () => {
  const theirs = 'loglevel=4 vfio-pci.ids=10de:2504,10EC:525a'
  const all = '"vfio-pci.ids=10de:1cb6,10de:0fb9,10de:2504,10EC:525a"'

  it('is held by ours too, which comes last; what it takes from the host is named', () => {
    const dir = host({ files: { [params]: theirs } })
    const before = snapshotOf(join(dir, 'etc'))
    const ran = apply(dir, card)
    expectRan(ran, 0, /holds 10de:2504 and 10EC:525a too/)
    expect(ran.stdout).toMatch(/takes 0000:03:00\.0 \(\S+ now\) from the host as well: take 10EC:525a out/)
    expect(ran.stdout).not.toContain('leave it to this module')
    expect(moduleOf(dir)).toContain(`boot.kernelParams = pkgs.lib.mkAfter [\n    "intel_iommu=on"\n    ${all}\n`)
    // As after nixos-rebuild: both lists are on the line.
    writeIn(dir, params, `${theirs} intel_iommu=on ${all.slice(1, -1)}`)
    expectRan(apply(dir, card), 0, /^Nothing to do/m)
    expectRan(bind(dir, '--undo', '--apply'), 0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('stays for as long as one of our devices needs the list', () => {
    const dir = host({ files: { [params]: 'vfio-pci.ids=10de:2504' } })
    expectRan(apply(dir, card), 0)
    writeIn(dir, params, 'vfio-pci.ids=10de:2504 intel_iommu=on vfio-pci.ids=10de:1cb6,10de:0fb9,10de:2504')
    expectRan(apply(dir, '03:00'), 0)
    expect(moduleOf(dir)).toContain('"vfio-pci.ids=10de:1cb6,10de:0fb9,10de:2504,10ec:525a"')
    expectRan(bind(dir, '--undo', card, '--apply'), 0)
    expect(moduleOf(dir)).toContain('"vfio-pci.ids=10de:2504,10ec:525a"')
    expectRan(bind(dir, '--undo', '--apply'), 0)
  })

  needs('nix-instantiate', HAS_NIX).it('is what Nix reads', () => {
    const dir = host({ files: { [params]: theirs } })
    expectRan(apply(dir, card), 0)
    parseNix(moduleOf(dir))
    const { boot } = evaluateModule(moduleOf(dir)) as { boot: { kernelParams: string[] } }
    expect(boot.kernelParams).toEqual(['intel_iommu=on', all.slice(1, -1)])
  })
})
