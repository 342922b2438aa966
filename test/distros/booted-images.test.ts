import { describe, expect, it } from 'vitest'
import { apply, card, expectRan, tune } from '../support/bind.ts'
import { arch, generatorDir, PRESET, RELEASE } from '../support/generators.ts'
import {
  applied,
  type Files,
  kernelInstall,
  loaderDir,
  MACHINE_ID,
  OURS,
  ROOT,
  systemdBoot,
  treeOf,
  undone,
} from '../support/loaders.ts'
import { type System, snapshotOf, systemDir, textOf } from '../support/system.ts'

// A plan stops where an entry boots an image that the plan does not make again.

const machine = 'i9-14900k-vmd'
const noGrub: Files = {
  'etc/default/grub': null,
  'usr/sbin/grub-mkconfig': null,
  'usr/sbin/grub2-mkconfig': null,
  'usr/sbin/update-grub': null,
  'boot/grub/grub.cfg': null,
  'boot/grub2/grub.cfg': null,
}
const dracut: Files = { 'usr/bin/dracut': '#!/bin/bash\n', 'usr/lib/dracut/dracut-version.sh': 'DRACUT_VERSION=107\n' }
const line = `options ${ROOT} rw`

function expectRefused(dir: string, ...says: (string | RegExp)[]): void {
  const before = snapshotOf(dir)
  const ran = apply(dir, card)
  for (const one of says) expect(ran.stderr).toMatch(one)
  expect(ran.code).toBe(2)
  expect(ran.stdout).toBe('')
  expect(snapshotOf(dir)).toBe(before)
}

function expectApplied(system: System, ...says: RegExp[]): void {
  const dir = systemDir(system)
  const ran = apply(dir, card)
  expect(ran.stderr).toBe('')
  for (const one of says) expect(ran.stdout).toMatch(one)
  expect(textOf(dir, 'etc/modprobe.d/00-vfio-scripts.conf')).toContain('options vfio-pci ids=10de:1cb6,10de:0fb9')
}

describe('an image that an entry boots and that nothing makes again', () => {
  const suse = 'opensuse-tumbleweed'
  const release = '6.12.1-1-default'
  const own = `boot/efi/${suse}/${release}`
  const bls: Files = {
    ...noGrub,
    'usr/bin/sdbootutil': '#!/bin/bash\n',
    'etc/kernel/cmdline': `${ROOT} quiet\n`,
    'etc/sysconfig/bootloader': 'LOADER_TYPE="grub2-bls"\n',
    [`boot/efi/loader/entries/${suse}-${release}-1.conf`]: `title openSUSE Tumbleweed\nversion 1@${release}\nsort-key ${suse}\n${line}\nlinux /${suse}/${release}/linux-0a1b\ninitrd /${suse}/${release}/initrd-9c8d\n`,
    [`${own}/linux-0a1b`]: 'kernel',
    [`${own}/initrd-9c8d`]: 'image',
  }

  it('openSUSE with sdbootutil, whose image is gone', () => {
    const files = { ...bls, [`${own}/initrd-9c8d`]: null, [`boot/initrd-${release}`]: null }
    const dir = systemDir({ machine, family: 'opensuse', kernels: [release], files })
    expectRefused(dir, /dracut.*no initramfs image/, /sdbootutil mkinitrd/)
  })

  // What an old /boot/initrd-RELEASE holds, nothing boots.
  it.each([null, 'old'])('openSUSE with sdbootutil makes the image on the ESP again; in /boot: %s', (image) => {
    const files = { ...bls, [`boot/initrd-${release}`]: image }
    const dir = systemDir({ machine, family: 'opensuse', kernels: [release], files })
    const before = treeOf(dir)
    expect(applied(dir)).toEqual(['sdbootutil mkinitrd'])
    expect(undone(dir)).toEqual(['sdbootutil mkinitrd'])
    expect(treeOf(dir)).toBe(before)
  })

  const gentoo = '6.12.1-gentoo'
  const efistub: Files = {
    ...noGrub,
    ...dracut,
    [`boot/vmlinuz-${gentoo}`]: null,
    [`efi/EFI/Gentoo/kernel-${gentoo}.efi`]: 'kernel',
    [`efi/EFI/Gentoo/initramfs-${gentoo}.img`]: 'image',
  }

  it('Gentoo whose firmware starts the kernel', () => {
    expectRefused(
      systemDir({ machine, family: 'gentoo', kernels: [gentoo], files: efistub }),
      /no initramfs image/,
      /dracut/,
    )
    expectRefused(
      systemDir({
        machine,
        family: 'gentoo',
        kernels: [gentoo],
        files: { ...efistub, [`boot/initramfs-${gentoo}.img`]: 'old' },
      }),
      /\/efi\/EFI\/Gentoo\/initramfs-6\.12\.1-gentoo\.img/,
    )
  })

  it('Limine with copies of its own', () => {
    const folder = `boot/${MACHINE_ID}/linux`
    const files: Files = {
      ...arch,
      ...noGrub,
      'usr/bin/limine-update': '#!/bin/bash\n',
      'etc/default/limine': `KERNEL_CMDLINE[default]+="${ROOT} rw"\n`,
      'boot/limine.conf': `timeout: 3\n\n/+CachyOS\n  comment: machine-id=${MACHINE_ID}\n  //linux\n  protocol: linux\n  path: boot():/${MACHINE_ID}/linux/vmlinuz-linux#0a1b\n  cmdline: ${ROOT} rw\n  module_path: boot():/${MACHINE_ID}/linux/initramfs-linux.img#9c8d\n`,
      [`${folder}/vmlinuz-linux`]: 'kernel',
      [`${folder}/initramfs-linux.img`]: 'image',
    }
    expectRefused(
      generatorDir(files),
      /linux \(\/boot\/limine\.conf\) boots \/boot\/0123456789abcdef0123456789abcdef\/linux\/initramfs-linux\.img/,
      /limine-update/,
    )
  })

  it('an ESP with kernels that were copied by hand', () => {
    const files: Files = {
      ...arch,
      ...noGrub,
      'efi/loader/entries/arch.conf': `title Arch\nlinux /EFI/arch/vmlinuz-linux\ninitrd /EFI/arch/intel-ucode.img\ninitrd /EFI/arch/initramfs-linux.img\n${line}\n`,
      'efi/EFI/arch/vmlinuz-linux': 'kernel',
      'efi/EFI/arch/intel-ucode.img': 'microcode',
      'efi/EFI/arch/initramfs-linux.img': 'image',
    }
    expectRefused(
      generatorDir(files),
      /^bind-vfio: Arch \(\/efi\/loader\/entries\/arch\.conf\) boots \/efi\/EFI\/arch\/initramfs-linux\.img, which .*mkinitcpio/m,
    )
  })

  const debian = '6.12.43-amd64'
  const token = `boot/efi/${MACHINE_ID}/${debian}`
  const debianBoot: Files = {
    ...noGrub,
    'etc/machine-id': `${MACHINE_ID}\n`,
    'etc/kernel/cmdline': `${ROOT} rw\n`,
    [`boot/efi/loader/entries/${MACHINE_ID}-${debian}.conf`]: `# Boot Loader Specification type#1 entry\ntitle Debian\nversion ${debian}\n${line}\nlinux /${MACHINE_ID}/${debian}/linux\ninitrd /${MACHINE_ID}/${debian}/initrd.img-${debian}\n`,
    [`${token}/linux`]: 'kernel',
    [`${token}/initrd.img-${debian}`]: 'image',
  }

  it('Debian with dracut and systemd-boot', () => {
    expectRefused(
      systemDir({ machine, kernels: [debian], generator: 'dracut', files: debianBoot }),
      /Debian \(.*\.conf\) boots \/boot\/efi\/0123456789abcdef0123456789abcdef\/6\.12\.43-amd64\/initrd\.img-6\.12\.43-amd64/,
      /kernel-install add/,
    )
  })

  it('Debian with initramfs-tools and systemd-boot: a hook of update-initramfs hands the image on', () => {
    const hook = 'etc/initramfs/post-update.d/systemd-boot'
    const system = { machine, kernels: [debian] }
    expectApplied({
      ...system,
      files: { ...debianBoot, [hook]: '#!/bin/sh\nkernel-install add "$1" "/boot/vmlinuz-$1"\n' },
    })
    expectRefused(systemDir({ ...system, files: debianBoot }), /boots \/boot\/efi\/.*\/initrd\.img-6\.12\.43-amd64/)
  })

  it('Fedora whose image is gone', () => {
    const files = { 'boot/initramfs-6.12.1-1.fc43.img': null }
    const dir = systemDir({ machine, family: 'fedora', kernels: ['6.12.1-1.fc43'], files })
    expectRefused(dir, /no initramfs image/, /dracut --force --regenerate-all/)
  })
})

describe('several images in one entry', () => {
  const grubOf = (initrd: string): Files => ({
    ...arch,
    'boot/grub/grub.cfg': `menuentry 'Arch Linux' --class arch {\n\tlinux\t/boot/vmlinuz-linux ${ROOT} rw quiet\n\tinitrd\t${initrd}\n}\n`,
    'boot/intel-ucode.img': 'microcode',
    'boot/acpi.img': 'tables',
    'boot/initramfs-custom.img': 'image',
  })

  it.each([
    ['microcode first', '/boot/intel-ucode.img /boot/initramfs-linux.img'],
    ['microcode, tables and the image', '/boot/intel-ucode.img /boot/acpi.img /boot/initramfs-linux.img'],
    ['a subvolume in front', '/@/boot/intel-ucode.img /@/boot/initramfs-linux.img'],
    ['the fallback, which is made too', '/boot/initramfs-linux-fallback.img'],
    ['no image at all', ''],
  ])('%s: goes on', (_, initrd) => {
    expectApplied({ machine, kernels: [RELEASE], files: grubOf(initrd) })
  })

  it('none of which is made again is refused, and microcode does not count', () => {
    const says = /Arch Linux \(\/boot\/grub\/grub\.cfg\) boots \/boot\/initramfs-custom\.img/
    expectRefused(generatorDir(grubOf('/boot/intel-ucode.img /boot/initramfs-custom.img')), says)
    expectRefused(generatorDir(grubOf('/@/boot/intel-ucode.img /@/boot/initramfs-custom.img')), says)
  })
})

describe('an entry that is left', () => {
  const old = `title Old\nlinux /vmlinuz-5.4.0\ninitrd /initramfs-5.4.0.img\n${line}\n`

  it('of a kernel that has no modules any more is named, and nothing is refused', () => {
    const files: Files = {
      ...arch,
      ...noGrub,
      'boot/loader/entries/arch.conf': `title Arch\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\n${line}\n`,
      'boot/loader/entries/old.conf': old,
      'boot/vmlinuz-5.4.0': 'kernel',
      'boot/initramfs-5.4.0.img': 'image',
    }
    expectApplied({ machine, kernels: [RELEASE], files }, /Old \(\/boot\/loader\/entries\/old\.conf\)/)
  })

  it('alone is refused: no entry would boot what is made', () => {
    const files: Files = {
      ...arch,
      ...noGrub,
      'boot/loader/entries/old.conf': old,
      'boot/vmlinuz-5.4.0': 'kernel',
      'boot/initramfs-5.4.0.img': 'image',
    }
    expectRefused(
      generatorDir(files),
      /Old \(\/boot\/loader\/entries\/old\.conf\) boots \/boot\/initramfs-5\.4\.0\.img/,
    )
  })

  it('of another installed kernel, whose image no preset makes, is refused', () => {
    const files: Files = {
      ...arch,
      ...noGrub,
      'etc/mkinitcpio.d/linux.preset': PRESET,
      'lib/modules/6.6.30-1-lts/modules.dep': '',
      'lib/modules/6.6.30-1-lts/pkgbase': 'linux-lts\n',
      'boot/vmlinuz-linux-lts': 'kernel',
      'boot/initramfs-linux-lts.img': 'image',
      'boot/loader/entries/arch.conf': `title Arch\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\n${line}\n`,
      'boot/loader/entries/lts.conf': `title Arch LTS\nlinux /vmlinuz-linux-lts\ninitrd /initramfs-linux-lts.img\n${line}\n`,
    }
    expectRefused(generatorDir(files), /Arch LTS \(.*lts\.conf\) boots \/boot\/initramfs-linux-lts\.img/)
  })

  it('for recovery is named', () => {
    expect(apply(loaderDir(systemdBoot), card).stdout).toMatch(
      /stays as it is: Arch Linux \(fallback\) \(\/boot\/loader\/entries\/arch-fallback\.conf\), for recovery/i,
    )
    expect(apply(loaderDir({ files: {} }), card).stdout).toMatch(
      /stays as it is: Debian GNU\/Linux, with Linux \S+ \(recovery mode\) \(\/boot\/grub\/grub\.cfg\), for recovery/i,
    )
    expect(tune(loaderDir(systemdBoot), '--threadirqs').stdout).toMatch(/stays as it is: Arch Linux \(fallback\)/i)
  })

  it('in a file that is in no mounted file system changes no answer', () => {
    const dir = loaderDir(kernelInstall)
    expectRan(apply(dir, card), 0)
    expect(textOf(dir, `boot/efi/loader/entries/${MACHINE_ID}-6.9.1-1.conf`)).toContain(OURS)
  })
})
