import { describe, expect, it } from 'vitest'
import { compareVersions } from '../../distros/boot/entry-order.ts'
import { adapters } from '../../distros/index.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import { ROOT } from '../support/loaders.ts'
import { hostWith } from '../support/root.ts'

const releases = ['6.1.0-37-amd64', '6.12.1-1']
const kernels = Object.fromEntries(
  releases.flatMap((release) => [
    [`/lib/modules/${release}/modules.dep`, ''],
    [`/boot/vmlinuz-${release}`, 'kernel'],
    [`/boot/initrd.img-${release}`, 'image'],
  ]),
)
const arch = { '/lib/modules/6.9.1-arch1-1/modules.dep': '', '/lib/modules/6.9.1-arch1-1/pkgbase': 'linux\n' }

const entriesOf = (loader: string, files: Record<string, string>): MenuEntry[] =>
  adapters.openBootloader(hostWith(files), loader)?.entries() ?? []

const defaults = (entries: MenuEntry[]): string[] =>
  entries.flatMap(({ title, isDefault }) => (isDefault ? [title] : []))

it.each(['rpm-ostree', 'bootc'])('%s: the tenth deployment is newer than the second', (loader) => {
  const entry = (number: number, more: string): Record<string, string> => ({
    [`/boot/loader/entries/ostree-${number}-x.conf`]: `title ${number}\n${more}linux /ostree/a/vmlinuz\noptions ${ROOT} n=${number}\n`,
  })
  for (const version of [(number: number) => `version ${number}\n`, () => '']) {
    const host = hostWith({ ...entry(2, version(2)), ...entry(10, version(10)) })
    const tokens = adapters
      .openBootloader(host, loader)
      ?.configured()
      .map(({ token }) => token)
    expect(tokens).toContain('n=10')
    expect(tokens).not.toContain('n=2')
  }
})

describe('other menus', () => {
  it('of Limine', () => {
    const conf = `timeout: 3\ndefault_entry: 3\n\n/+Arch\n  //Usual\n  protocol: linux\n  path: boot():/vmlinuz-linux#0a\n  cmdline: ${ROOT} rw\n  module_path: boot():/amd-ucode.img\n  module_path: boot():/initramfs-linux.img\n  //Fallback\n  protocol: linux\n  kernel_path: boot():/vmlinuz-linux\n  cmdline: ${ROOT} rw\n/Windows\n  protocol: efi\n  path: boot():/EFI/Microsoft/Boot/bootmgfw.efi\n`
    const entries = entriesOf('limine', { ...arch, '/boot/limine.conf': conf, '/boot/vmlinuz-linux': 'kernel' })
    expect(defaults(entries)).toEqual(['Fallback'])
    expect(entries[0]).toMatchObject({
      ...{ kernel: '/boot/vmlinuz-linux', release: '6.9.1-arch1-1', line: `${ROOT} rw` },
      images: [
        { path: '/amd-ucode.img', found: false },
        { path: '/initramfs-linux.img', found: false },
      ],
    })
    const old = `:Arch\nPROTOCOL=linux\nKERNEL_PATH=boot:///vmlinuz-linux\nCMDLINE=${ROOT}\nMODULE_PATH=boot:///initramfs-linux.img\n`
    expect(entriesOf('limine', { ...arch, '/boot/limine.cfg': old, '/boot/vmlinuz-linux': 'kernel' })).toMatchObject([
      { title: 'Arch', kernel: '/boot/vmlinuz-linux', line: ROOT, isDefault: true },
    ])
  })

  it('of rEFInd', () => {
    const lines = `"Usual" "${ROOT} rw initrd=\\amd-ucode.img initrd=\\initramfs-%v.img"\n"Single" "${ROOT} single"\n`
    const files = {
      ...arch,
      '/boot/refind_linux.conf': lines,
      '/boot/vmlinuz-linux': 'kernel',
      '/boot/initramfs-linux.img': 'i',
    }
    const [first, second] = entriesOf('refind', files)
    expect(first).toMatchObject({ kernel: '/boot/vmlinuz-linux', recovery: false, isDefault: null })
    expect(second).toMatchObject({
      ...{ recovery: true, isDefault: false },
      images: [{ path: '/boot/initramfs-linux.img', found: true }],
    })
  })

  it('of Proxmox: what a refresh makes, by the pinned kernel', () => {
    const files = { ...kernels, '/etc/kernel/cmdline': 'root=ZFS=rpool/ROOT/pve-1 boot=zfs\nnot this\n' }
    expect(entriesOf('proxmox-boot-tool', files)[0]).toMatchObject({
      ...{ release: '6.12.1-1', line: 'root=ZFS=rpool/ROOT/pve-1 boot=zfs', isDefault: true },
      images: [{ path: '/boot/initrd.img-6.12.1-1', found: true }],
    })
    const pin = { '/etc/kernel/proxmox-boot-pin': `${releases[0]}\n` }
    expect(defaults(entriesOf('proxmox-boot-tool', { ...files, ...pin }))).toEqual([`Proxmox (${releases[0]})`])
  })
})

describe('versions', () => {
  it.each([
    ['6.9', '6.12'],
    ['6.1.0-9', '6.1.0-37'],
    ['1~rc1', '1'],
    ['1', '1^post'],
    ['1-1', '1.1'],
    ['1.a', '1.1'],
    ['123', '123.1'],
  ])('%s is older than %s', (one, other) => {
    expect(compareVersions(one, other)).toBeLessThan(0)
    expect(compareVersions(other, one)).toBeGreaterThan(0)
    expect(compareVersions(one, one)).toBe(0)
  })
})
