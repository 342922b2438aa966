import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, card, undo } from '../support/bind.ts'
import {
  base,
  bashReads,
  byName,
  CONFIGS,
  configurations,
  countKinds,
  counts,
  expectOthersEqual,
  filesOf,
  IDS,
  type Judge,
  judge,
  list,
  treeOf,
} from '../support/configs.ts'
import { arch, none, oldArch, RELEASE } from '../support/generators.ts'
import { grubby, limine, limineTool, refind, systemdBoot, ukiInstall, ukiPreset } from '../support/loaders.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { type System, systemDir, textOf } from '../support/system.ts'

// Real files of boot loaders, mkinitcpio and modules-load.d, read as their documentation says; those of bash by bash.
const KINDS = ['mkinitcpio', 'modules-load', 'kernel-cmdline', 'loader-entry', 'grubby-bls', 'limine', 'refind']
countKinds(KINDS)

const places = (files: Record<string, string>, part: RegExp): string[] =>
  Object.keys(files).filter((at) => part.test(at))
const argument = (line: string): string[] => line.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []
const isList = (token: string): boolean => /^vfio[-_]pci\.ids=/.test(token)

/** Kernel arguments that are to hold `before` in its order, the list completed, and ours. */
function expectArguments(before: string[], after: string[]): void {
  const wanted = before.map((token) => (isList(token) ? [token, ...IDS].join(',') : token))
  const ours = [
    ...(before.includes('intel_iommu=on') ? [] : ['intel_iommu=on']),
    ...(before.some(isList) ? [] : [`vfio-pci.ids=${IDS.join(',')}`]),
  ]
  for (const token of ours) expect(after.filter((one) => one === token)).toHaveLength(1)
  expect(after.filter((token) => !ours.includes(token))).toEqual(wanted)
}

describe('every kind of real file', () => {
  needs(REAL_FILES, existsSync(CONFIGS)).it('is looked at', () => {
    const others = ['grub', 'modprobe', 'dracut', 'initramfs-tools']
    expect(readdirSync(CONFIGS).sort()).toEqual([...KINDS, ...others].sort())
  })
})

needs(REAL_FILES, filesOf('mkinitcpio').length > 0).describe('real mkinitcpio.conf files', () => {
  const reads = (dir: string, dropIns: boolean): Map<string, string> =>
    bashReads(dir, ['etc/mkinitcpio.conf', ...(dropIns ? byName(list(dir, 'etc/mkinitcpio.conf.d')) : [])])
  const words = (all: Map<string, string>, name: string): string[] => (all.get(name) ?? '').split(/\s+/).filter(Boolean)
  const judgeOf = (dropIns: boolean, more: string[]): Judge<[Map<string, string>, ...Map<string, string>[]]> => ({
    read: (dir) => [reads(dir, dropIns), ...more.map((path) => bashReads(dir, [path]))],
    expectOurs(before, after) {
      for (const [at, was] of before.entries()) {
        const now = after[at] ?? new Map<string, string>()
        expectOthersEqual(was, now, ['MODULES', 'HOOKS'])
        const [modules, hooks] = [words(was, 'MODULES'), words(was, 'HOOKS')]
        const ours = modules.some((word) => /^vfio[-_]pci$/.test(word)) ? [] : ['vfio_pci']
        expect(words(now, 'MODULES')).toEqual([...ours, ...modules])
        expect(words(now, 'HOOKS')).toContain('modconf')
        expect(words(now, 'HOOKS').filter((hook) => hook !== 'modconf')).toEqual(
          hooks.filter((hook) => hook !== 'modconf'),
        )
        if (hooks.includes('modconf')) expect(words(now, 'HOOKS')).toEqual(hooks)
      }
    },
  })

  it.each(
    sampleOf(configurations('mkinitcpio'), 5).flatMap(([title, one]) =>
      [true, false].map((drop) => [title, drop, one] as const),
    ),
  )('%s, drop-ins %s', (_, dropIns, { name, files }) => {
    const more = places(files, /\/mkinitcpio\.\w+\.conf$/)
    const preset = `ALL_kver="/boot/vmlinuz-linux"\nPRESETS=('default'${more.map((_path, at) => ` 'p${at}'`).join('')})\ndefault_image="/boot/initramfs-linux.img"\n${more.map((path, at) => `p${at}_config="/${path}"\np${at}_image="/boot/initramfs-linux-fallback.img"\n`).join('')}`
    const { 'etc/mkinitcpio.conf': main, ...arched } = dropIns ? arch : oldArch
    const system: System = {
      ...base,
      iommuByDefault: true,
      kernels: [RELEASE],
      files: { ...arched, 'etc/mkinitcpio.conf': `${main}`, 'etc/mkinitcpio.d/linux.preset': preset, ...files },
    }
    judge(name, system, judgeOf(dropIns, more))
  })
})

needs(REAL_FILES, filesOf('modules-load').length > 0).describe('real lists of modules', () => {
  // Source: modules-load.d(5); /etc/modules is one of them, by a link.
  const read = (dir: string): string[] =>
    byName(list(dir, 'etc/modules-load.d')).flatMap((path) =>
      (textOf(dir, path) ?? '')
        .split('\n')
        .map((row) => row.trim())
        .filter((row) => /^[^#;]/.test(row)),
    )

  it.each(sampleOf(configurations('modules-load'), 2))('%s', (_, { name, files }) => {
    const debian = 'etc/modules' in files ? { 'etc/modules-load.d/modules.conf': '→ ../modules' } : {}
    const system = { ...base, iommuByDefault: true, kernels: [RELEASE], files: { ...none, ...debian, ...files } }
    judge(name, system, {
      read,
      expectOurs(before, after) {
        expect(after.some((row) => /^vfio[-_]pci\b/.test(row))).toBe(true)
        const ours = before.some((row) => /^vfio[-_]pci\b/.test(row)) ? [] : ['vfio-pci']
        expect([...after].sort()).toEqual([...before, ...ours].sort())
      },
    })
  })
})

needs(REAL_FILES, filesOf('kernel-cmdline').length > 0).describe('real command lines in files', () => {
  /** As mkinitcpio joins them: build_uki() in its own text. */
  const joined = (dir: string, paths: string[]): string[] => {
    const files = paths.map((path) => join(dir, path)).filter((path) => existsSync(path))
    const program = `grep -ha -- '^[^#]' "$@" | tr -s '\\n' ' '`
    return argument(spawnSync('/bin/bash', ['-c', program, 'bash', ...files], { encoding: 'latin1' }).stdout)
  }

  it.each(sampleOf(configurations('kernel-cmdline'), 2))('%s', (_, { name, files }) => {
    const preset = places(files, /cmdline\.d\/.*\.conf$/).length > 0
    const { files: image, ...loader } = preset ? ukiPreset : ukiInstall
    const line = places(files, /cmdline\.d/).length > 0 ? { 'etc/kernel/cmdline': 'root=LABEL=x rw\n' } : {}
    const system = { ...base, builtin: ['vfio_pci', 'vfio'], ...loader, files: { ...image, ...line, ...files } }
    judge(name, system, {
      read: (dir) => joined(dir, preset ? byName(list(dir, 'etc/cmdline.d')) : ['etc/kernel/cmdline']),
      expectOurs: (before, after) => expectArguments(before, after),
    })
  })
})

needs(REAL_FILES, filesOf('loader-entry').length > 0).describe('real loader entries', () => {
  interface Entry {
    path: string
    rest: string[]
    line: string[]
  }
  /** Source: the Boot Loader Specification: a key, blanks, a value; `options` may come several times. */
  const read = (dir: string): Entry[] =>
    [...list(dir, 'boot/loader/entries'), 'boot/loader/loader.conf'].map((path) => {
      const rows = (textOf(dir, path) ?? '').split('\n')
      const isLine = (row: string): boolean => /^\s*options\s/.test(row)
      const values = rows.filter(isLine).map((row) => row.trim().replace(/^options\s+/, ''))
      return { path, rest: rows.filter((row) => !isLine(row)), line: argument(values.join(' ')) }
    })

  it.each(sampleOf(configurations('loader-entry'), 4))('%s', (_, { name, files }) => {
    const own = places(files, /entries\//).length > 0 ? { 'boot/loader/entries/arch.conf': null } : {}
    const { files: entries, ...loader } = systemdBoot
    judge(
      name,
      { ...base, builtin: ['vfio_pci', 'vfio'], ...loader, files: { ...entries, ...own, ...files } },
      {
        read,
        expectOurs(before, after) {
          expect(after.map(({ path }) => path)).toEqual(before.map(({ path }) => path))
          for (const [at, was] of before.entries()) {
            const now = after[at] ?? was
            expect(now.rest).toEqual(was.rest)
            // A fallback is spare where another entry boots its kernel; else it is all that the person has of it.
            const kernelOf = ({ rest }: Entry): string | undefined => /^linux\s+(\S+)/m.exec(rest.join('\n'))?.[1]
            const spare = before.some((one) => one !== was && kernelOf(one) === kernelOf(was))
            if (/loader\.conf$|memtest/.test(was.path) || (spare && /fallback/.test(was.path))) expect(now).toEqual(was)
            else expectArguments(was.line, now.line)
          }
        },
      },
    )
  })
})

needs(REAL_FILES, filesOf('grubby-bls').length > 0).describe('real files beside entries of grubby', () => {
  it.each(configurations('grubby-bls'))('%s: stay, and are no entries', (_, { files }) => {
    counts.systems++
    const { files: fedora, ...loader } = grubby
    const dir = systemDir({ ...base, builtin: ['vfio_pci', 'vfio'], ...loader, files: { ...fedora, ...files } })
    const before = treeOf(dir)
    const ran = apply(dir, card, '--json')
    expect((JSON.parse(ran.stdout) as { commands: string[][] }).commands).toHaveLength(2)
    expect(undo(dir).code).toBe(0)
    expect(treeOf(dir)).toBe(before)
    counts.applied++
  })
})

needs(REAL_FILES, filesOf('limine').length > 0 && filesOf('refind').length > 0).describe(
  'real files that are set up by hand',
  () => {
    function stepsFor(loader: System['files'], files: Record<string, string>): string {
      counts.systems++
      const dir = systemDir({ ...base, builtin: ['vfio_pci', 'vfio'], files: { ...loader, ...files } })
      const before = treeOf(dir)
      const ran = apply(dir, card)
      expect(ran.stderr).toMatch(/is set up by hand\. Nothing was written; by hand:/)
      expect(ran.code).toBe(2)
      expect(treeOf(dir)).toBe(before)
      counts.byHand++
      return ran.stderr
    }

    it.each(sampleOf(configurations('limine'), 3))('%s', (_, { files }) => {
      const tool = places(files, /^etc/).length > 0
      const steps = stepsFor(
        {
          ...(tool ? limineTool : limine).files,
          ...(tool ? { 'etc/default/limine': null } : { 'boot/limine/limine.conf': null }),
        },
        files,
      )
      const rows = Object.values(files).flatMap((text) => text.split('\n'))
      for (const row of rows.filter((one) => /^\s*KERNEL_CMDLINE\[/.test(one))) expect(steps).toContain(row.trim())
      for (const row of rows.flatMap((one) => /^\s*cmdline:\s*(.*)$/.exec(one)?.[1]?.trim() ?? []))
        expect(steps).toContain(`${row} intel_iommu=on vfio-pci.ids=${IDS.join(',')}`)
      expect(steps).toContain(`intel_iommu=on vfio-pci.ids=${IDS.join(',')}`)
    })

    it.each(sampleOf(configurations('refind'), 3))('%s', (_, { files }) => {
      const steps = stepsFor({ ...refind.files, 'boot/refind_linux.conf': null }, files)
      const path = 'boot/refind_linux.conf'
      const rows = (files[path] ?? '').split('\n')
      const at = rows.findIndex((row) => row.startsWith('"'))
      const [, title, line = ''] = /^"([^"]*)"\s+"([^"]*)"/.exec(rows[at] ?? '') ?? []
      if (title === undefined) expect(steps).toMatch(/refind\.conf, if its menu entries start your kernels, add/)
      else {
        expect(steps).toContain(`Make line ${at + 1} of /${path} say`)
        const said = new RegExp(`^ +"${title.replace(/[()+/]/g, '\\$&')}" {2}"(.*)"$`, 'm').exec(steps)?.[1] ?? ''
        expectArguments(argument(line), argument(said))
      }
    })
  },
)
