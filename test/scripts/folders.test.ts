import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { bind, card, tune } from '../support/bind.ts'
import { kernelInstall, type Loader, sdbootutil, ukiInstall } from '../support/loaders.ts'
import { runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

// A folder of drop-ins may hold a folder, such as one in which a person keeps older files.

const FOLDERS = `
  etc/cmdline.d/old.conf etc/default/grub.d/old.cfg etc/dracut.conf.d/old.conf etc/initramfs-tools/hooks/old
  etc/initramfs-tools/conf.d/old etc/initramfs-tools/scripts/init-top/old etc/initramfs/post-update.d/old
  etc/kernel/cmdline.d/old etc/kernel/install.d/old.install etc/mkinitcpio.conf.d/old.conf etc/mkinitcpio.d/old.preset
  etc/modprobe.d/old.conf etc/modules-load.d/old.conf etc/security/limits.d/old.conf etc/sysctl.d/old.conf
  etc/systemd/system/old.service etc/tmpfiles.d/old.conf etc/udev/rules.d/old.rules etc/libvirt/hooks/qemu.d/old
  boot/loader/entries/old.conf boot/efi/loader/entries/old.conf boot/efi/EFI/Linux/old.efi`.match(/\S+/g)

const SYSTEMS: [string, Partial<Loader>][] = [
  ['Debian', {}],
  ['Fedora', { family: 'fedora' }],
  ['Arch Linux', { family: 'arch', files: { 'usr/bin/mkinitcpio': '#!/bin/bash\n_d_config\ncmdline_dir=\n' } }],
  ['kernel-install', kernelInstall],
  ['unified images', ukiInstall],
  ['sdbootutil', { ...sdbootutil, files: { ...sdbootutil.files, 'usr/bin/sdbootutil': 'cmdline.d\n' } }],
]

it.each(SYSTEMS)('changes no answer: %s', (_, system) => {
  const dir = systemDir({ machine: 'i9-14900k-vmd', iommuByDefault: false, ...system })
  const answers = () => [
    bind(dir, card),
    tune(dir, '--hugepages', '2G', '--vfio-group', 'kvm'),
    runScript('check-host', ['--root', dir]),
  ]
  const before = answers()
  expect(before.map(({ code }) => code)).not.toContain(2)
  for (const path of FOLDERS ?? []) mkdirSync(join(dir, path), { recursive: true })
  expect(answers()).toEqual(before)
})
