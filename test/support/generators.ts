// Fake systems of every initramfs generator, for tests.
import type { Ran } from './run.ts'
import { systemDir } from './system.ts'

export const MODPROBE = 'etc/modprobe.d/00-vfio-scripts.conf'
export const RELEASE = '6.9.1-arch1-1'

type Files = Record<string, string | null>

/** Nothing of Debian's initramfs-tools. */
const bare: Files = {
  'usr/sbin/update-initramfs': null,
  'etc/initramfs-tools/initramfs.conf': null,
  'etc/initramfs-tools/modules': null,
  'etc/kernel/postinst.d/initramfs-tools': null,
  [`boot/initrd.img-${RELEASE}`]: null,
}

const ARCH_CONF = `# vim:set ft=sh:
# MODULES
MODULES=()
BINARIES=()
FILES=()
HOOKS=(base udev autodetect microcode modconf kms keyboard keymap consolefont block filesystems fsck)
#COMPRESSION="zstd"
`

export const PRESET = `# mkinitcpio preset file for the 'linux' package

#ALL_config="/etc/mkinitcpio.conf"
ALL_kver="/boot/vmlinuz-linux"

PRESETS=('default' 'fallback')

#default_config="/etc/mkinitcpio.conf"
default_image="/boot/initramfs-linux.img"
#default_uki="/efi/EFI/Linux/arch-linux.efi"

fallback_image="/boot/initramfs-linux-fallback.img"
fallback_options="-S autodetect"
`

/** Arch Linux with a mkinitcpio of today. */
export const arch: Files = {
  ...bare,
  'usr/bin/mkinitcpio': '#!/bin/bash\n_f_config=/etc/mkinitcpio.conf\n_d_config=/etc/mkinitcpio.conf.d\n',
  'etc/mkinitcpio.conf': ARCH_CONF,
  'etc/mkinitcpio.d/linux.preset': PRESET,
  [`lib/modules/${RELEASE}/pkgbase`]: 'linux\n',
  'boot/vmlinuz-linux': 'kernel',
  'boot/initramfs-linux.img': 'image',
  'boot/initramfs-linux-fallback.img': 'image',
}

/** As it was before version 36, without drop-ins. */
export const oldArch: Files = { ...arch, 'usr/bin/mkinitcpio': '#!/bin/bash\n_f_config=/etc/mkinitcpio.conf\n' }

export const booster: Files = {
  ...bare,
  'usr/bin/booster': '',
  [`lib/modules/${RELEASE}/pkgbase`]: 'linux\n',
  'boot/vmlinuz-linux': 'kernel',
  'boot/booster-linux.img': 'image',
}

export const none: Files = {
  ...bare,
  [`boot/kernel-${RELEASE}`]: 'kernel',
  'boot/grub/grub.cfg': `menuentry 'Gentoo' {\n\tlinux /boot/kernel-${RELEASE} root=/dev/nvme0n1p3\n\tinitrd /boot/amd-uc.img\n}\n`,
}

const deployment = 'ostree/deploy/fedora/deploy/0f3c.0'
export const ORIGIN = `${deployment}.origin`

/** A Fedora Silverblue; its dracut is there too. */
export const ostree: Files = {
  ...bare,
  'usr/bin/rpm-ostree': '',
  'usr/bin/dracut': '#!/bin/bash\n',
  'usr/lib/dracut/dracut-functions.sh': '',
  'usr/lib/kernel/install.d/50-dracut.install': '',
  [ORIGIN]: '[origin]\ncontainer-image-reference=ostree-image-signed:docker://quay.io/fedora/fedora-silverblue:41\n',
  [`${deployment}/usr/lib/modules/${RELEASE}/initramfs.img`]: 'image',
}

/** A fake system of this generator. */
export function generatorDir(files: Files, more: Files = {}, machine = 'i9-14900k-vmd'): string {
  return systemDir({ machine, kernels: [RELEASE], files: { ...files, ...more } })
}

/** The commands that an apply leaves to the person. */
export function commandsOf(ran: Ran): string[] {
  const { commands } = JSON.parse(ran.stdout) as { commands: string[][] }
  return commands.map((argv) => argv.join(' '))
}
