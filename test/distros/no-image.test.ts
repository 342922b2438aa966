import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { apply, card, expectRan, override, write } from '../support/bind.ts'
import { type Files, RELEASES, ROOT, sdbootutil } from '../support/loaders.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

// A generator that has no image here is not the absence of one.

const arch = (files: Files, gone = 'boot/initramfs-linux.img'): string => {
  const dir = systemDir({ machine: 'i9-14900k-vmd', family: 'arch', iommuByDefault: false, files })
  rmSync(join(dir, gone))
  return dir
}
const noEntries = { 'boot/loader/entries/arch.conf': null, 'etc/kernel/cmdline': `${ROOT} rw\n` }
const unified = `ALL_kver="/boot/vmlinuz-linux"\nPRESETS=('default')\ndefault_uki="/efi/EFI/Linux/arch-linux.efi"\n`
const grub = {
  ...noEntries,
  'etc/default/grub': 'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
  'usr/bin/grub-mkconfig': '#!/bin/sh\n',
  'boot/grub/grub.cfg': `menuentry 'Arch Linux' {\n\tlinux /boot/vmlinuz-linux ${ROOT} rw\n}\n`,
}

it.each<[string, Files, string[]]>([
  ['mkinitcpio, whose unified image is gone', { ...noEntries, 'etc/mkinitcpio.d/linux.preset': unified }, []],
  ['mkinitcpio with GRUB, whose menu names none', grub, ['--bootloader', 'grub']],
  [
    'booster',
    { ...grub, 'usr/bin/booster': '', 'usr/bin/mkinitcpio': null, 'etc/mkinitcpio.d/linux.preset': null },
    ['--bootloader', 'grub'],
  ],
])('its packages make one for each kernel: %s', (_, files, options) => {
  const dir = arch(files)
  const before = snapshotOf(dir)
  expectRan(apply(dir, card, ...options), 2, /no initramfs generator that is known here was found/)
  expect(snapshotOf(dir)).toBe(before)
})

it('systemd-boot without an entry: nothing that boots would have the arguments', () => {
  const ran = apply(arch(noEntries, 'boot/loader/loader.conf'), card, '--bootloader', 'systemd-boot')
  expectRan(
    ran,
    2,
    /systemd-boot \(.*\) is set up by hand[\s\S]*In each entry of loader\/entries, add .*intel_iommu=on/,
  )
})

it('a person says that there is no initramfs, and an entry boots one', () => {
  const ran = apply(arch({}), card, '--initramfs', 'none')
  expectRan(ran, 0, /note: Not made again, and yet booted: \/initramfs-linux\.img\. It must load no driver of these/)
})

it('MicroOS by address: nothing goes into read-only /usr, and a unit runs the script', () => {
  const dir = systemDir({
    machine: 'i9-14900k-vmd',
    family: 'opensuse',
    kernels: RELEASES,
    builtin: ['nouveau', 'snd_hda_intel'],
    files: {
      ...sdbootutil.files,
      'etc/os-release': 'ID=opensuse-microos\n',
      'etc/fstab': 'UUID=1 / btrfs ro 0 0\n',
      'usr/sbin/transactional-update': '',
      'usr/lib/systemd/systemd': '',
    },
  })
  const usr = snapshotOf(join(dir, 'usr'))
  expectRan(override(dir, card, ...write), 0)
  expect(snapshotOf(join(dir, 'usr'))).toBe(usr)
  const conf = textOf(dir, 'etc/dracut.conf.d/zz-vfio-scripts.conf')
  const unit = '/etc/systemd/system'
  for (const path of [
    '/etc/vfio-scripts/override',
    `${unit}/vfio-scripts.service`,
    `${unit}/sysinit.target.d/vfio-scripts.conf`,
  ])
    expect(conf).toContain(`install_items+=" ${path} "\n`)
})
