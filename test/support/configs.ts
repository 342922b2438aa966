import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect } from 'vitest'
import { apply, card, expectSettled, undo } from './bind.ts'
import { PROJECT } from './run.ts'
import { type System, snapshotOf, systemDir } from './system.ts'

// Real machines' configuration files, kept beside the checkout where there are any; they are nobody's to redistribute
// here. Each is judged by who reads it: bash, modprobe.
export const CONFIGS = `${PROJECT}../shared/machines/configs`
export const filesOf = (kind: string): string[] =>
  existsSync(`${CONFIGS}/${kind}`) ? readdirSync(`${CONFIGS}/${kind}`) : []

export const IDS = ['10de:1cb6', '10de:0fb9']
export const base = { machine: 'i9-14900k-vmd', iommuByDefault: false } as const

/** Files that speak against the binding: part of their name, and what is said. Each was read and is wrong that way. */
const REFUSED: [RegExp, RegExp][] = [
  [/^Andrei-Paul_proxmox /, /passthrough\.conf:22: has no effect: the last ids= wins.*line 24/],
  [/^iroger_ASRock-TRX40-proxmox modprobe/, /vfio\.conf:2: has no effect: .*line 14 \(and 3 more\)/],
  [/^booski_winguest /, /vfio\.conf:2: %DEVICES% is no ID/],
  [/^Skeen_libvirt-gpu-passthrough /, /vfio\.conf:1: install vfio_pci \/usr\/sbin\/vfio-pci-override: /],
  [/^chloecdn_arch-vfio-vm-stuff /, /vfio\.conf:1: install vfio_pci \/usr\/local\/bin\/vfio-pci-override\.sh: /],
]

export const counts = { systems: 0, applied: 0, refused: 0, nothing: 0, byHand: 0 }

/** Prints the counts once the tests of a file are done; `kinds`: folders of real files. */
export function countKinds(kinds: readonly string[]): void {
  afterAll(() => {
    const { systems, applied, refused, nothing, byHand } = counts
    const files = kinds.flatMap(filesOf).length
    const ends = `${applied} applied, ${nothing} had it all, ${byHand} by hand, ${refused} refused`
    console.log(`${files} real files in ${systems} systems: ${ends}`)
  })
}

/** The name of its file says where it was: `owner_repo__etc__default__grub`. */
function placeOf(kind: string, name: string): string {
  const path = name.replace(/#.*$/, '').split('__').slice(1).join('/')
  const file = path.slice(path.lastIndexOf('/') + 1)
  const folders =
    /(?:^|\/)(usr\/lib\/.*|etc\/(?:default\/grub|dracut\.conf|mkinitcpio\.conf|cmdline|kernel\/cmdline|limine-entry-tool|modules-load)\.d)\/[^/]*$/
  const folder = folders.exec(path)?.[1]
  if (folder !== undefined) return `${folder}/${file}`
  if (kind === 'grub') return 'etc/default/grub'
  if (kind === 'modprobe') return `etc/modprobe.d/${file}`
  if (kind === 'initramfs-tools') return `etc/initramfs-tools/${file}`
  if (kind === 'loader-entry') return file === 'loader.conf' ? 'boot/loader/loader.conf' : `boot/loader/entries/${file}`
  if (kind === 'kernel-cmdline') return 'etc/kernel/cmdline'
  if (kind === 'mkinitcpio') return /tmpfiles/.test(path) ? `usr/lib/tmpfiles.d/${file}` : `etc/${file}`
  if (kind === 'limine') return file === 'limine' ? 'etc/default/limine' : 'boot/limine.conf'
  if (kind === 'refind') return file === 'refind.conf' ? 'boot/efi/EFI/refind/refind.conf' : 'boot/refind_linux.conf'
  if (kind === 'grubby-bls') return /entries__/.test(name) ? `boot/loader/entries/${file}` : `boot/loader/${file}`
  if (kind === 'modules-load') return file === 'modules' ? 'etc/modules' : `etc/modules-load.d/${file}`
  return file === 'dracut.conf' ? 'etc/dracut.conf' : `etc/dracut.conf.d/${file}`
}

export interface Configuration {
  name: string
  /** place → text */
  files: Record<string, string>
}

/** The files of a kind, those of one repository together as far as each has a place of its own; by what a title says. */
export function configurations(kind: string): [string, Configuration][] {
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

/** What bash has in its variables after it read the files; it finds no programs. */
export function bashReads(dir: string, files: readonly string[]): Map<string, string> {
  const program = `for file; do . "$file" 2>/dev/null; done; set -o posix; unset file; for name in $(compgen -v); do all="$name[*]"; printf '%s\\0%s\\0' "$name" "\${!all}"; done`
  const paths = files.map((file) => join(dir, file)).filter((path) => existsSync(path))
  const { stdout } = spawnSync('/bin/bash', ['--norc', '-c', program, 'bash', ...paths], {
    env: { PATH: '/nowhere' },
    encoding: 'latin1',
  })
  const words = stdout.split('\0')
  const pairs = words.flatMap((word, at): [string, string][] => (at % 2 === 0 ? [[word, words[at + 1] ?? '']] : []))
  const own = /^(BASH.*|EPOCH.*|RANDOM|SRANDOM|SECONDS|PPID|UID|EUID|LINENO|_|PIPESTATUS|SHELLOPTS|all|)$/
  return new Map(pairs.filter(([name]) => !own.test(name)))
}

/** `after` without those of `names`, and what these hold before and after. */
export function expectOthersEqual(
  before: Map<string, string>,
  after: Map<string, string>,
  names: readonly string[],
): void {
  const others = (all: Map<string, string>): [string, string][] => [...all].filter(([name]) => !names.includes(name))
  expect(others(after)).toEqual(others(before))
}

export const list = (dir: string, folder: string): string[] =>
  existsSync(join(dir, folder)) ? readdirSync(join(dir, folder)).map((name) => `${folder}/${name}`) : []
export const byName = (files: string[]): string[] =>
  files.sort((one, other) => (one.replace(/.*\//, '') < other.replace(/.*\//, '') ? -1 : 1))

export interface Judge<T> {
  read: (dir: string) => T
  /** Is `after` what was `before`, and ours? */
  expectOurs: (before: T, after: T) => void
}

/** All that a boot is made from. */
export const treeOf = (dir: string): string =>
  ['etc', 'boot', 'efi', 'usr']
    .filter((one) => existsSync(join(dir, one)))
    .map((one) => snapshotOf(join(dir, one)))
    .join('\n')

/** Applies, applies again and takes back; what the real reader sees is judged in between. */
export function judge<T>(name: string, system: System, { read, expectOurs }: Judge<T>): void {
  counts.systems++
  const dir = systemDir(system)
  const tree = treeOf(dir)
  const before = read(dir)
  const ran = apply(dir, card)
  const refused = REFUSED.find(([part]) => part.test(name))
  if (refused !== undefined || ran.code === 2) {
    expect(ran.stderr.replaceAll(dir, '')).toMatch(refused?.[1] ?? /^not refused$/)
    expect(ran.code).toBe(2)
    expect(treeOf(dir)).toBe(tree)
    counts.refused++
    return
  }
  expect(ran.stderr).toBe('')
  expect(ran.code).toBe(0)
  const nothing = /^Nothing to do/m.test(ran.stdout)
  counts[nothing ? 'nothing' : 'applied']++
  expectOurs(before, read(dir))
  const applied = treeOf(dir)
  expectSettled(dir, card)
  expect(treeOf(dir)).toBe(applied)
  expect(undo(dir).code).toBe(0)
  expect(treeOf(dir)).toBe(tree)
}
