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
  [/^Andrei-Paul_proxmox /, /passthrough\.conf:22: has no effect: the last ids= wins.*line 24/],
  [/^iroger_ASRock-TRX40-proxmox modprobe/, /vfio\.conf:2: has no effect: .*line 14 \(and 3 more\)/],
  [/^booski_winguest /, /vfio\.conf:2: %DEVICES% is no ID/],
  [/^Skeen_libvirt-gpu-passthrough /, /vfio\.conf:1: install vfio_pci \/usr\/sbin\/vfio-pci-override: /],
  [/^chloecdn_arch-vfio-vm-stuff /, /vfio\.conf:1: install vfio_pci \/usr\/local\/bin\/vfio-pci-override\.sh: /],
]

const counts = { systems: 0, applied: 0, refused: 0, nothing: 0 }
afterAll(() => {
  const { systems, applied, refused, nothing } = counts
  const files = ['grub', 'modprobe', 'dracut', 'initramfs-tools'].flatMap(filesOf).length
  console.log(
    `${files} real files in ${systems} systems: ${applied} applied, ${nothing} had it all, ${refused} refused`,
  )
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

interface Configuration {
  name: string
  /** place → text */
  files: Record<string, string>
}

/** The files of a kind, those of one repository together as far as each has a place of its own; by what a title says. */
function configurations(kind: string): [string, Configuration][] {
  const all: Configuration[] = []
  for (const file of filesOf(kind)) {
    const name = `${file.split('__')[0]} ${kind}`
    const place = placeOf(kind, file)
    let one = all.find((other) => other.name === name && other.files[place] === undefined)
    if (one === undefined) {
      one = { name, files: {} }
      all.push(one)
    }
    one.files[place] = readFileSync(`${CONFIGS}/${kind}/${file}`, 'latin1')
  }
  return all.map((one) => [`${one.name}: ${Object.keys(one.files).join(' ')}`, one])
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
const byName = (files: string[]): string[] =>
  files.sort((one, other) => (one.replace(/.*\//, '') < other.replace(/.*\//, '') ? -1 : 1))

interface Judge<T> {
  read: (dir: string) => T
  /** Is `after` what was `before`, and ours? */
  expectOurs: (before: T, after: T) => void
}

/** Applies, applies again and takes back; what the real reader sees is judged in between. */
async function judge<T>(name: string, system: System, { read, expectOurs }: Judge<T>): Promise<void> {
  counts.systems++
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

const concurrent = { concurrent: true }

describe.skipIf(filesOf('grub').length === 0)(`real GRUB settings (skipped without ${CONFIGS})`, concurrent, () => {
  const builtin = ['vfio_pci', 'vfio']
  const all = configurations('grub')

  it.each(all)('%s', async (_, { name, files }) => {
    await judge(name, { ...base, builtin, files }, grubJudge(true))
  })

  it.each(all.filter(([, { files }]) => 'etc/default/grub' in files))(
    '%s, without drop-ins',
    async (_, { name, files }) => {
      const upstream = { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' }
      await judge(name, { ...base, builtin, files: { ...files, ...upstream } }, grubJudge(false))
    },
  )
})

describe.skipIf(filesOf('modprobe').length === 0 || !has('modprobe'))('real modprobe.d files', concurrent, () => {
  it.each(configurations('modprobe'))('%s', async (_, { name, files }) => {
    await judge(name, { ...base, iommuByDefault: true, files }, modprobeJudge)
  })
})

describe.skipIf(filesOf('dracut').length === 0)('real dracut settings', concurrent, () => {
  it.each(configurations('dracut'))('%s', async (_, { name, files }) => {
    await judge(name, { ...base, iommuByDefault: true, generator: 'dracut', files }, dracutJudge)
  })
})

describe.skipIf(filesOf('initramfs-tools').length === 0)('real initramfs-tools settings', concurrent, () => {
  it.each(configurations('initramfs-tools'))('%s', async (_, { name, files }) => {
    await judge(
      name,
      { ...base, iommuByDefault: true, files },
      {
        read: (dir) => Object.keys(files).map((place) => readFileSync(join(dir, place), 'latin1')),
        expectOurs: (before, after) => expect(after).toEqual(before),
      },
    )
  })
})
