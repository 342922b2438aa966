import { describe, expect, it } from 'vitest'
import { systemdBoot as adapter } from '../../distros/bootloaders/systemd-boot.ts'
import { adapters } from '../../distros/index.ts'
import { FAMILIES } from '../support/families.ts'
import {
  bootc,
  type Files,
  grubby,
  kernelInstall,
  kernelstub,
  type Loader,
  limine,
  limineTool,
  MACHINE_ID,
  proxmox,
  proxmoxGrub,
  RELEASES,
  ROOT,
  refind,
  rpmOstree,
  sdbootutil,
  systemdBoot,
  ukiPreset,
} from '../support/loaders.ts'
import { debianGrub, hostWith } from '../support/root.ts'

const VENDOR = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

/** A variable of the firmware's, which a loader has set. */
const told = (name: string, text: string): Files => ({
  [`sys/firmware/efi/efivars/${name}-${VENDOR}`]: `\x06\0\0\0${[...text].map((char) => `${char}\0`).join('')}\0\0`,
})
const loaderInfo = (text: string): Files => told('LoaderInfo', text)
const booted = (line: string): Files => ({ 'proc/cmdline': `${line}\n` })

function hostOf({ family, kernels = ['6.12.1'], files }: Loader, more: Files = {}, running = true) {
  const all: Files = { ...(family === undefined ? {} : FAMILIES[family].files(kernels)), ...files, ...more }
  for (const release of kernels) all[`lib/modules/${release}/modules.dep`] ??= ''
  const given = Object.entries(all).flatMap(([path, text]) => (text === null ? [] : [[`/${path}`, text]]))
  return hostWith(Object.fromEntries(given), running)
}

const grubToo: Files = Object.fromEntries(Object.entries(debianGrub).map(([path, text]) => [path.slice(1), text]))

describe('what booted this machine is found', () => {
  it.each<[string, Loader, Files, string]>([
    [
      'systemd-boot, with GRUB there too',
      systemdBoot,
      { ...grubToo, ...loaderInfo('systemd-boot 255.4') },
      'systemd-boot',
    ],
    ['GRUB, with entries there too', systemdBoot, { ...grubToo, ...loaderInfo('GRUB 2.12') }, 'grub'],
    [
      'a unified image',
      ukiPreset,
      { ...loaderInfo('systemd-boot 255'), ...told('StubInfo', 'systemd-stub 255') },
      'uki',
    ],
    [
      'a unified image, started by GRUB',
      ukiPreset,
      { ...grubToo, ...loaderInfo('GRUB 2.12'), ...told('StubInfo', 'systemd-stub 257') },
      'uki',
    ],
    [
      'an entry, with unified images there too',
      systemdBoot,
      {
        ...ukiPreset.files,
        ...systemdBoot.files,
        'boot/loader/entries/arch.conf': `linux /v\noptions ${ROOT}\n`,
        ...loaderInfo('systemd-boot 255'),
      },
      'systemd-boot',
    ],
    ['GRUB with entries of grubby', grubby, booted(`BOOT_IMAGE=(hd0,gpt2)/vmlinuz-1 ${ROOT}`), 'grubby'],
    ['systemd-boot, by kernelstub', kernelstub, loaderInfo('systemd-boot 255'), 'kernelstub'],
    ['systemd-boot, by sdbootutil', sdbootutil, loaderInfo('systemd-boot 255'), 'sdbootutil'],
    ['GRUB, by sdbootutil', sdbootutil, loaderInfo('GRUB2 2.12'), 'sdbootutil'],
    ['rpm-ostree', rpmOstree, { 'run/ostree-booted': '', ...booted(`BOOT_IMAGE=/v ${ROOT}`) }, 'rpm-ostree'],
    ['bootc', bootc, { 'run/ostree-booted': '' }, 'bootc'],
    ['Proxmox by systemd-boot', proxmox, { ...grubToo, ...loaderInfo('systemd-boot 252') }, 'proxmox-boot-tool'],
    [
      'Proxmox by GRUB',
      proxmoxGrub,
      { ...grubToo, 'etc/kernel/cmdline': 'x\n', ...booted('BOOT_IMAGE=/v root=ZFS=x') },
      'proxmox-boot-tool-grub',
    ],
    ['Limine', limine, { ...grubToo, ...loaderInfo('Limine 8.0') }, 'limine'],
    [
      'Limine, by unified images of its tool',
      limineTool,
      {
        'etc/default/limine': 'ENABLE_UKI=yes\n',
        ...loaderInfo('Limine 9.3'),
        ...told('StubInfo', 'systemd-stub 257'),
      },
      'limine',
    ],
    [
      'rEFInd, by the line that runs',
      refind,
      { ...grubToo, ...booted(`${ROOT} ro quiet vfio-pci.ids=1b21:2142 initrd=\\boot\\x`) },
      'refind',
    ],
  ])('%s', (_, loader, more, name) => {
    const { adapter: found, why } = adapters.findBootloader(hostOf(loader, more), undefined)
    expect(`${found?.name}: ${why}`).toMatch(new RegExp(`^${name}: `))
  })

  it.each<[string, Files, RegExp]>([
    ['systemd-boot', { 'etc/sysconfig/bootloader': 'LOADER_TYPE="systemd-boot"\n' }, /space bar.*systemd-boot's menu/],
    [
      'a GRUB that reads its entries',
      { 'etc/sysconfig/bootloader': 'LOADER_TYPE="grub2-bls"\n' },
      /starts with linux, press Ctrl-x/,
    ],
    ['the GRUB that booted this', loaderInfo('GRUB2 2.12'), /starts with linux, press Ctrl-x/],
  ])('with sdbootutil, the menu is that of %s', (_, more, menu) => {
    const host = hostOf(sdbootutil, more)
    expect(adapters.openBootloader(host, 'sdbootutil')?.menu()).toMatch(menu)
  })

  it.each<[string, Files, string | undefined]>([
    ['systemd-boot on an ESP', { 'boot/efi/loader/loader.conf': 'timeout 3\n' }, 'proxmox-boot-tool'],
    ['GRUB on an ESP', { 'var/tmp/espmounts/ABCD-1234/grub/grub.cfg': '' }, 'proxmox-boot-tool-grub'],
    ['no ESP that is mounted', {}, undefined],
    ['both', { 'boot/efi/loader/loader.conf': '', 'efi/grub/grub.cfg': '' }, undefined],
  ])('of a Proxmox that does not run, what the ESPs hold tells: %s', (_, more, name) => {
    const { files } = proxmoxGrub
    const host = hostOf({ files: { ...files, ...grubToo, 'etc/kernel/cmdline': 'root=x\n' } }, more, false)
    const { adapter: found, why } = adapters.findBootloader(host, undefined)
    expect(found?.name).toBe(name)
    if (name === undefined)
      expect(why).toMatch(/more than one boot loader.* proxmox-boot-tool .*proxmox-boot-tool-grub/)
  })

  it('of another root nothing is known, and two that are set up are two', () => {
    const host = hostOf(systemdBoot, { ...grubToo, ...loaderInfo('systemd-boot 255.4') }, false)
    expect(adapters.findBootloader(host, undefined).why).toMatch(
      /^more than one boot loader is here: grub .*systemd-boot/,
    )
    expect(adapters.findBootloader(host, 'grub').adapter?.name).toBe('grub')
  })
})

describe('a command line that has to be made', () => {
  const settings = (more: Files) => adapter.open(hostOf(kernelInstall, more)).settings([{ token: 'a=b', reason: '' }])
  const headOf = (more: Files): string | undefined =>
    settings(more).find(({ path }) => path === '/etc/kernel/cmdline')?.head

  it('is that of this boot, without what loaders and the escape hatch add', () => {
    const line = `BOOT_IMAGE=/v initrd=\\x ${ROOT} ro vfio-pci.ids= dyndbg="file a +p" vfio_scripts.override=off quiet`
    expect(headOf(booted(line))).toBe(`${ROOT} ro dyndbg="file a +p" quiet\n`)
  })

  it("is the distribution's where it has one", () => {
    expect(headOf({ ...booted(ROOT), 'usr/lib/kernel/cmdline': '# vendor\nroot=LABEL=x ro\n' })).toBe(
      'root=LABEL=x ro\n',
    )
  })

  it.each([
    ['has no root', 'quiet'],
    ['has another root than the entries', 'root=/dev/mapper/live ro'],
  ])('is not known where this boot %s', (_, line) => {
    expect(() => settings(booted(line))).toThrow(/\/etc\/kernel\/cmdline is missing/)
  })

  it('is made for entries of kernel-install alone', () => {
    const own = {
      [`boot/efi/loader/entries/${MACHINE_ID}-${RELEASES[0]}.conf`]: null,
      [`boot/efi/loader/entries/${MACHINE_ID}-${RELEASES[1]}.conf`]: null,
      'boot/efi/loader/entries/mine.conf': `linux /v\noptions ${ROOT}\n`,
    }
    expect(settings({ ...own, ...booted(ROOT) }).map(({ path }) => path)).toEqual([
      '/boot/efi/loader/entries/mine.conf',
    ])
  })
})
