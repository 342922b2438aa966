import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import {
  base,
  bashReads,
  byName,
  configurations,
  countKinds,
  expectOthersEqual,
  filesOf,
  IDS,
  type Judge,
  judge,
  list,
} from '../support/configs.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { has } from '../support/run.ts'

countKinds(['grub', 'modprobe', 'dracut', 'initramfs-tools'])

const tokens = (line: string | undefined): string[] => line?.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []
const COMMAND_LINES = ['GRUB_CMDLINE_LINUX', 'GRUB_CMDLINE_LINUX_DEFAULT']

function grubJudge(dropIns: boolean): Judge<Map<string, string>> {
  const isList = (token: string): boolean => /^vfio[-_]pci\.ids=/.test(token)
  return {
    read: (dir) => bashReads(dir, ['etc/default/grub', ...(dropIns ? list(dir, 'etc/default/grub.d').sort() : [])]),
    expectOurs(before, after) {
      expectOthersEqual(before, after, COMMAND_LINES)
      const line = (all: Map<string, string>): string[] => COMMAND_LINES.flatMap((each) => tokens(all.get(each)))
      const was = line(before)
      const iommu = was.includes('intel_iommu=on') ? [] : ['intel_iommu=on']
      const ids = was.some(isList) ? [] : [`vfio-pci.ids=${IDS.join(',')}`]
      const merged = was.map((token) => (isList(token) ? [token, ...IDS].join(',') : token))
      expect(line(after)).toEqual([...merged, ...iommu, ...ids])
      // Recovery entries get this one: none of ours are in it, unless the list was.
      if (!tokens(before.get('GRUB_CMDLINE_LINUX')).some(isList))
        expect(after.get('GRUB_CMDLINE_LINUX')).toBe(before.get('GRUB_CMDLINE_LINUX'))
    },
  }
}

const modprobeJudge: Judge<string[]> = {
  read(dir) {
    const folders = ['etc/modprobe.d', 'usr/lib/modprobe.d'].map((folder) => join(dir, folder))
    const args = folders.filter((folder) => existsSync(folder)).flatMap((folder) => ['-C', folder])
    const { stdout } = spawnSync('modprobe', ['--showconfig', ...args], { encoding: 'latin1' })
    return stdout.replace(/^# End of configuration files.*/ms, '').split('\n')
  },
  expectOurs(before, after) {
    const isList = (line: string): boolean => /^options vfio_pci .*\bids=/.test(line)
    const lists = after.filter(isList)
    expect(lists).toHaveLength(1)
    for (const id of IDS) expect(lists[0]).toMatch(new RegExp(`[=,]${id}(,|\\s|$)`))
    for (const module of ['nouveau', 'snd_hda_intel'])
      expect(after.find((line) => line.startsWith(`softdep ${module} `))).toMatch(/ pre: vfio[-_]pci\b/)
    const theirs = after
      .filter((line) => before.includes(line) || !line.startsWith('softdep '))
      .map((line) => (isList(line) ? IDS.reduce((left, id) => left.replace(new RegExp(`,?${id}`), ''), line) : line))
      .filter((line) => line !== 'options vfio_pci ids=')
    expect(theirs.sort()).toEqual([...before].sort())
  },
}

const dracutJudge: Judge<Map<string, string>> = {
  read(dir) {
    const files = ['etc/dracut.conf.d', 'usr/lib/dracut/dracut.conf.d'].flatMap((folder) => list(dir, folder))
    return bashReads(dir, ['etc/dracut.conf', ...byName(files.filter((file) => file.endsWith('.conf')))])
  },
  expectOurs(before, after) {
    const LISTS = ['force_drivers', 'install_items']
    expectOthersEqual(before, after, LISTS)
    const words = (all: Map<string, string>, name: string): string[] => (all.get(name) ?? '').split(/\s+/)
    expect(words(after, 'force_drivers')).toContain('vfio_pci')
    expect(words(after, 'install_items')).toContain('/etc/modprobe.d/00-vfio-scripts.conf')
    for (const name of LISTS) expect(words(after, name)).toEqual(expect.arrayContaining(words(before, name)))
  },
}

needs(REAL_FILES, filesOf('grub').length > 0).describe(`real GRUB settings`, () => {
  const builtin = ['vfio_pci', 'vfio']
  const all = sampleOf(configurations('grub'), 8)

  it.each(all)('%s', (_, { name, files }) => {
    judge(name, { ...base, builtin, files }, grubJudge(true))
  })

  it.each(all.filter(([, { files }]) => 'etc/default/grub' in files))('%s, without drop-ins', (_, { name, files }) => {
    const upstream = { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' }
    judge(name, { ...base, builtin, files: { ...files, ...upstream } }, grubJudge(false))
  })
})

needs(`${REAL_FILES} and modprobe`, filesOf('modprobe').length > 0 && has('modprobe')).describe(
  'real modprobe.d files',
  () => {
    it.each(sampleOf(configurations('modprobe'), 8))('%s', (_, { name, files }) => {
      judge(name, { ...base, iommuByDefault: true, files }, modprobeJudge)
    })
  },
)

needs(REAL_FILES, filesOf('dracut').length > 0).describe('real dracut settings', () => {
  it.each(sampleOf(configurations('dracut'), 4))('%s', (_, { name, files }) => {
    judge(name, { ...base, iommuByDefault: true, generator: 'dracut', files }, dracutJudge)
  })
})

needs(REAL_FILES, filesOf('initramfs-tools').length > 0).describe('real initramfs-tools settings', () => {
  it.each(sampleOf(configurations('initramfs-tools'), 2))('%s', (_, { name, files }) => {
    judge(
      name,
      { ...base, iommuByDefault: true, files },
      {
        read: (dir) => Object.keys(files).map((place) => readFileSync(join(dir, place), 'latin1')),
        expectOurs: (before, after) => expect(after).toEqual(before),
      },
    )
  })
})
