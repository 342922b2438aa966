import { existsSync, readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import type { Finding } from '../../lib/core/finding.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { PROJECT, runProgram, runScript } from '../support/run.ts'

// Real machines' sysfs trees, kept beside the checkout where there are any; they are nobody's to redistribute here.
const TREES = `${PROJECT}../shared/machines/sysfs`
const folder = (name: string): string[] =>
  existsSync(`${TREES}/${name}`) ? readdirSync(`${TREES}/${name}`).map((file) => `${TREES}/${name}/${file}`) : []
const archives = ['umockdev', 'snapshots', 'hwloc-pci']
  .flatMap(folder)
  .filter((file) => /(?<!\.t)tar\.(gz|bz2)$/.test(file))

/** Unpacks an archive and finds the folders that hold a sys/. */
function unpack(archive: string): string[] {
  const dir = scratchDir('tree')
  runProgram('tar', ['-xf', archive, '-C', dir, '--no-same-owner'])
  runProgram('chmod', ['-R', 'u+rwX', dir])
  const found = runProgram('find', [dir, '-maxdepth', '3', '-type', 'd', '-name', 'sys'])
  return found.stdout
    .split('\n')
    .filter(Boolean)
    .map((path) => path.slice(0, -4))
}

needs(REAL_FILES, archives.length > 0).describe('real trees', () => {
  it.each(sampleOf(archives, 3).map((archive) => [archive.slice(TREES.length + 1), archive]))('%s', (_, archive) => {
    for (const tree of unpack(archive as string)) {
      const devices = `${tree}/sys/bus/pci/devices`
      const expected = existsSync(devices) ? readdirSync(devices) : []
      const listed = runScript('list-iommu', ['--machine', tree, '--json'])
      const checked = runScript('check-reset', ['--machine', tree, '--json'])
      if (expected.length === 0) {
        expect([listed.code, JSON.parse(listed.stdout).error.code]).toEqual([2, 'no-pci'])
        expect(runScript('check-host', ['--root', tree, '--json']).code).toBe(2)
        continue
      }
      expect(listed.stderr).toBe('')
      const { iommu, groups, ungrouped } = JSON.parse(listed.stdout)
      const all = [...groups.flatMap((group: { devices: unknown[] }) => group.devices), ...ungrouped]
      expect(all.map((device) => device.address).sort()).toEqual(expected.sort())
      expect(listed.code).toBe(iommu.enabled ? 0 : 1)
      const cards = JSON.parse(checked.stdout).cards.flatMap((card: { functions: unknown[] }) => card.functions)
      expect(cards.length).toBe(all.filter((device) => !device.bridge).length)
      // Of these only /sys and /proc were kept: what is not there is not a problem.
      const [card] = all.filter((device) => !device.bridge)
      const ready = runScript('check-host', ['--root', tree, '--device', card.address, '--json'])
      const { healthy, findings } = JSON.parse(ready.stdout)
      expect(ready.code).toBe(healthy ? 0 : 1)
      const found = (state: string): string[] =>
        findings.filter((one: Finding) => one.state === state).map((one: Finding) => one.code)
      expect(found('unknown')).toEqual(expect.arrayContaining(['qemu', 'ovmf', 'vfio-modules']))
      expect(found('problem').includes('iommu')).toBe(iommu.enabled === false)
      // What was read is all that is needed to say the same again.
      const copy = `${scratchDir('copy')}/tree`
      runScript('list-iommu', ['--machine', tree, '--capture', copy])
      const again = JSON.parse(runScript('list-iommu', ['--machine', copy, '--root', copy, '--json']).stdout)
      expect(again.ungrouped).toEqual(ungrouped)
      expect(again.groups.map((group: { devices: unknown }) => group.devices)).toEqual(
        groups.map((group: { devices: unknown }) => group.devices),
      )
    }
  })
})
