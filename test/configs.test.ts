import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { has, PROJECT, type Ran } from './run.ts'
import { type System, snapshotOf, systemDir } from './system.ts'

// Real machines' configuration files, kept beside the checkout where there are any; they are nobody's to redistribute
// here. Each is judged by who reads it: bash, modprobe.
const CONFIGS = `${PROJECT}../shared/machines/configs`
const filesOf = (kind: string): string[] => (existsSync(`${CONFIGS}/${kind}`) ? readdirSync(`${CONFIGS}/${kind}`) : [])

const IDS = ['10de:1cb6', '10de:0fb9']
const base = { machine: 'i9-14900k-vmd', iommuByDefault: false } as const

/** Files that speak against the binding: part of their name, and what is said. Each was read and is wrong that way. */
const REFUSED: [RegExp, RegExp][] = [
  [/^Andrei-Paul_proxmox__.*passthrough\.conf/, /passthrough\.conf:22: has no effect: the last ids= wins.*line 24/],
  [/^iroger_ASRock-TRX40-proxmox__.*modprobe\.d__vfio\.conf/, /vfio\.conf:2: has no effect: .*line 14 \(and 3 more\)/],
  [/^booski_winguest__/, /vfio\.conf:2: %DEVICES% is no ID/],
  [/^Skeen_libvirt-gpu-passthrough__/, /vfio\.conf:1: install vfio_pci \/usr\/sbin\/vfio-pci-override: /],
  [/^chloecdn_arch-vfio-vm-stuff__/, /vfio\.conf:1: install vfio_pci \/usr\/local\/bin\/vfio-pci-override\.sh: /],
]

const counts = { files: 0, applied: 0, refused: 0, nothing: 0 }
afterAll(() => {
  const { files, applied, refused, nothing } = counts
  console.log(`Real configurations: ${files} systems, ${applied} applied, ${nothing} had it all, ${refused} refused`)
})

/** The name of its file says where it was: `owner_repo__etc__default__grub`. */
function placeOf(kind: string, name: string): string {
  const path = name.replace(/#.*$/, '').split('__').slice(1).join('/')
  const file = path.slice(path.lastIndexOf('/') + 1)
  const folder = /(?:^|\/)(usr\/lib\/.*|etc\/default\/grub\.d|etc\/dracut\.conf\.d)\/[^/]*$/.exec(path)?.[1]
  if (folder !== undefined) return `${folder}/${file}`
  if (kind === 'grub') return 'etc/default/grub'
  if (kind === 'modprobe') return `etc/modprobe.d/${file}`
  if (kind === 'initramfs-tools') return `etc/initramfs-tools/${file}`
  return file === 'dracut.conf' ? 'etc/dracut.conf' : `etc/dracut.conf.d/${file}`
}

function bind(dir: string, ...args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [`${PROJECT}scripts/bind-vfio.mjs`, '--root', dir, ...args])
  const ran = { stdout: '', stderr: '' }
  child.stdout.on('data', (data) => {
    ran.stdout += data
  })
  child.stderr.on('data', (data) => {
    ran.stderr += data
  })
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...ran })))
}

/** What bash has in its variables after it read the files; it finds no programs. */
function bashReads(dir: string, files: readonly string[]): Map<string, string> {
  const program = `for file; do . "$file" 2>/dev/null; done; set -o posix; unset file; for name in $(compgen -v); do printf '%s\\0%s\\0' "$name" "\${!name}"; done`
  const paths = files.map((file) => join(dir, file)).filter((path) => existsSync(path))
  const { stdout } = spawnSync('/bin/bash', ['--norc', '-c', program, 'bash', ...paths], {
    env: { PATH: '/nowhere' },
    encoding: 'latin1',
  })
  const words = stdout.split('\0')
  const pairs = words.flatMap((word, at): [string, string][] => (at % 2 === 0 ? [[word, words[at + 1] ?? '']] : []))
  const own = /^(BASH.*|EPOCH.*|RANDOM|SRANDOM|SECONDS|PPID|UID|EUID|LINENO|_|PIPESTATUS|SHELLOPTS|)$/
  return new Map(pairs.filter(([name]) => !own.test(name)))
}

/** `after` without those of `names`, and what these hold before and after. */
function expectOthersEqual(before: Map<string, string>, after: Map<string, string>, names: readonly string[]): void {
  const others = (all: Map<string, string>): [string, string][] => [...all].filter(([name]) => !names.includes(name))
  expect(others(after)).toEqual(others(before))
}

const list = (dir: string, folder: string): string[] =>
  existsSync(join(dir, folder)) ? readdirSync(join(dir, folder)).map((name) => `${folder}/${name}`) : []
const bySortedName = (files: string[]): string[] =>
  files.sort((one, other) => (one.replace(/.*\//, '') < other.replace(/.*\//, '') ? -1 : 1))

interface Judge<T> {
  read: (dir: string) => T
  /** Is `after` what was `before`, and ours? */
  expectOurs: (before: T, after: T) => void
}

/** Applies, applies again and takes back; what the real reader sees is judged in between. */
async function judge<T>(name: string, system: System, { read, expectOurs }: Judge<T>): Promise<void> {
  counts.files++
  const dir = systemDir(system)
  const tree = snapshotOf(join(dir, 'etc'))
  const before = read(dir)
  const ran = await bind(dir, '02:00', '--apply', '--no-commands')
  const refused = REFUSED.find(([part]) => part.test(name))
  if (refused !== undefined || ran.code === 2) {
    expect(ran.stderr.replaceAll(dir, '')).toMatch(refused?.[1] ?? /^not refused$/)
    expect(ran.code).toBe(2)
    expect(snapshotOf(join(dir, 'etc'))).toBe(tree)
    counts.refused++
    return
  }
  expect(ran.stderr).toBe('')
  expect(ran.code).toBe(0)
  const nothing = /^Nothing to do/m.test(ran.stdout)
  counts[nothing ? 'nothing' : 'applied']++
  expectOurs(before, read(dir))
  const applied = snapshotOf(join(dir, 'etc'))
  expect((await bind(dir, '02:00', '--apply', '--no-commands')).stdout).toMatch(/^Nothing to do/m)
  expect(snapshotOf(join(dir, 'etc'))).toBe(applied)
  expect((await bind(dir, '--undo', '--apply', '--no-commands')).code).toBe(0)
  expect(snapshotOf(join(dir, 'etc'))).toBe(tree)
}

const textOf = (kind: string, name: string): string => readFileSync(`${CONFIGS}/${kind}/${name}`, 'latin1')

describe.skipIf(filesOf('grub').length === 0)(
  `real GRUB settings (skipped without ${CONFIGS})`,
  { concurrent: true },
  () => {
    const tokens = (line: string | undefined): string[] => line?.match(/(?:[^\s"]|"[^"]*"?)+/g) ?? []
    const isList = (token: string): boolean => /^vfio[-_]pci\.ids=/.test(token)

    it.each(
      filesOf('grub').flatMap((name) => {
        const ways = /grub\.d__/.test(name) ? ['a drop-in'] : ['a drop-in', 'in place']
        return ways.map((way) => [name, way] as const)
      }),
    )('%s, %s', async (name, way) => {
      const mkconfig = way === 'in place' ? { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' } : {}
      const files = { [placeOf('grub', name)]: textOf('grub', name), ...mkconfig }
      const names = ['GRUB_CMDLINE_LINUX', 'GRUB_CMDLINE_LINUX_DEFAULT']
      await judge(
        name,
        { ...base, builtin: ['vfio_pci', 'vfio'], files },
        {
          read: (dir) =>
            bashReads(dir, ['etc/default/grub', ...(way === 'in place' ? [] : list(dir, 'etc/default/grub.d').sort())]),
          expectOurs(before, after) {
            expectOthersEqual(before, after, names)
            const line = (all: Map<string, string>): string[] => names.flatMap((each) => tokens(all.get(each)))
            const [was, is] = [line(before), line(after)]
            const iommu = was.includes('intel_iommu=on') ? [] : ['intel_iommu=on']
            const ids = was.some(isList) ? [] : [`vfio-pci.ids=${IDS.join(',')}`]
            expect(is).toEqual([
              ...was.map((token) => (isList(token) ? [token, ...IDS].join(',') : token)),
              ...iommu,
              ...ids,
            ])
            // The recovery entries get none of ours, unless the list is there.
            if (!tokens(before.get('GRUB_CMDLINE_LINUX')).some(isList))
              expect(after.get('GRUB_CMDLINE_LINUX')).toBe(before.get('GRUB_CMDLINE_LINUX'))
          },
        },
      )
    })
  },
)

describe.skipIf(filesOf('modprobe').length === 0 || !has('modprobe'))(
  'real modprobe.d files',
  { concurrent: true },
  () => {
    const folders = ['etc/modprobe.d', 'usr/lib/modprobe.d']
    const isList = (line: string): boolean => /^options vfio_pci .*\bids=/.test(line)
    it.each(filesOf('modprobe'))('%s', async (name) => {
      const files = { [placeOf('modprobe', name)]: textOf('modprobe', name) }
      await judge(
        name,
        { ...base, iommuByDefault: true, files },
        {
          read(dir) {
            const args = folders.flatMap((folder) => (existsSync(join(dir, folder)) ? ['-C', join(dir, folder)] : []))
            const { stdout } = spawnSync('modprobe', ['--showconfig', ...args], { encoding: 'latin1' })
            return stdout.replace(/^# End of configuration files.*/ms, '').split('\n')
          },
          expectOurs(before, after) {
            const added = after.filter((line) => !before.includes(line))
            const lists = after.filter(isList)
            expect(lists).toHaveLength(1)
            for (const id of IDS) expect(lists[0]).toMatch(new RegExp(`[=,]${id}(,|\\s|$)`))
            for (const module of ['nouveau', 'snd_hda_intel']) {
              const first = after.find((line) => line.startsWith(`softdep ${module} `))
              expect(first).toMatch(/ pre: vfio[-_]pci\b/)
            }
            const softdeps = added.filter((line) => line.startsWith('softdep '))
            const rest = after
              .filter((line) => !softdeps.includes(line))
              .map((line) =>
                isList(line) ? IDS.reduce((left, id) => left.replace(new RegExp(`,?${id}`), ''), line) : line,
              )
              .filter((line) => line !== 'options vfio_pci ids=')
            expect(rest.sort()).toEqual([...before].sort())
          },
        },
      )
    })
  },
)

describe.skipIf(filesOf('dracut').length === 0)('real dracut settings', { concurrent: true }, () => {
  const word = (text: string | undefined, wanted: string): boolean => (text ?? '').split(' ').includes(wanted)
  it.each(filesOf('dracut'))('%s', async (name) => {
    const files = { [placeOf('dracut', name)]: textOf('dracut', name) }
    await judge(
      name,
      { ...base, iommuByDefault: true, generator: 'dracut', files },
      {
        read: (dir) =>
          bashReads(dir, [
            'etc/dracut.conf',
            ...bySortedName(
              ['etc/dracut.conf.d', 'usr/lib/dracut/dracut.conf.d']
                .flatMap((folder) => list(dir, folder))
                .filter((file) => file.endsWith('.conf')),
            ),
          ]),
        expectOurs(before, after) {
          expectOthersEqual(before, after, ['force_drivers', 'install_items'])
          expect(word(after.get('force_drivers'), 'vfio_pci')).toBe(true)
          expect(word(after.get('install_items'), '/etc/modprobe.d/00-vfio-scripts.conf')).toBe(true)
          for (const list of ['force_drivers', 'install_items'])
            for (const one of (before.get(list) ?? '').split(/\s+/)) expect(word(after.get(list), one)).toBe(true)
        },
      },
    )
  })
})

describe.skipIf(filesOf('initramfs-tools').length === 0)('real initramfs-tools settings', { concurrent: true }, () => {
  it.each(filesOf('initramfs-tools'))('%s', async (name) => {
    const place = placeOf('initramfs-tools', name)
    const text = textOf('initramfs-tools', name)
    await judge(
      name,
      { ...base, iommuByDefault: true, files: { [place]: text } },
      {
        read: (dir) => readFileSync(join(dir, place), 'latin1'),
        expectOurs: (before, after) => expect(after).toBe(before),
      },
    )
  })
})
