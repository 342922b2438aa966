// The files by which each family of distributions is known: as little of each as adapters look at.

/** path → text; `→ TARGET` is a symbolic link. */
export type Files = Record<string, string>

export interface Family {
  /** Where its modules are, below the root [lib/modules] */
  modules?: string
  /** where its kernels, images and configurations are, with RELEASE for the release */
  boot?: { kernel: string; image: string | null; config: string | null }
  files(kernels: readonly string[]): Files
}

const UUID = '6c616221-0000-4000-8000-000000000001'
const GRUB_DEFAULTS = `# If you change this file, run 'update-grub' afterwards.
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=\`lsb_release -i -s 2> /dev/null || echo Debian\`
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX=""
`

const each = (kernels: readonly string[], files: (release: string) => Files): Files =>
  Object.assign({}, ...kernels.map(files))

export const FAMILIES = {
  debian: {
    files: (kernels) => ({
      'etc/os-release':
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n',
      'etc/default/grub': GRUB_DEFAULTS,
      'etc/modprobe.d/blacklist-floppy.conf': 'blacklist floppy\n',
      'usr/sbin/grub-mkconfig': '#!/bin/sh\n# reads /etc/default/grub.d/*.cfg\n',
      'usr/sbin/update-grub': '#!/bin/sh\nexec grub-mkconfig -o /boot/grub/grub.cfg "$@"\n',
      'boot/grub/grub.cfg': grubConfig(kernels, 'quiet'),
      'var/lib/dpkg/status': '',
    }),
  },
  arch: {
    boot: { kernel: 'boot/vmlinuz-linux', image: 'boot/initramfs-linux.img', config: null },
    files: (kernels) => ({
      ...Object.fromEntries(kernels.map((release) => [`lib/modules/${release}/pkgbase`, 'linux\n'])),
      'etc/os-release': 'NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n',
      'etc/mkinitcpio.conf':
        'MODULES=()\nBINARIES=()\nFILES=()\nHOOKS=(base systemd autodetect microcode modconf kms keyboard sd-vconsole block filesystems fsck)\n',
      'etc/mkinitcpio.d/linux.preset':
        'ALL_kver="/boot/vmlinuz-linux"\nPRESETS=(\'default\')\ndefault_image="/boot/initramfs-linux.img"\n',
      'usr/bin/mkinitcpio': '#!/usr/bin/env bash\n',
      'boot/loader/loader.conf': 'default arch.conf\ntimeout 3\n',
      'boot/loader/entries/arch.conf': `title Arch Linux\nlinux /vmlinuz-linux\ninitrd /initramfs-linux.img\noptions root=UUID=${UUID} rw\n`,
      'usr/bin/bootctl': '#!/bin/sh\n',
    }),
  },
  fedora: {
    boot: { kernel: 'boot/vmlinuz-RELEASE', image: 'boot/initramfs-RELEASE.img', config: 'lib/modules/RELEASE/config' },
    files: (kernels) => ({
      'etc/os-release':
        'NAME="Fedora Linux"\nPRETTY_NAME="Fedora Linux 43 (Workstation Edition)"\nID=fedora\nVERSION_ID=43\nVARIANT_ID=workstation\n',
      'etc/default/grub': 'GRUB_TIMEOUT=5\nGRUB_CMDLINE_LINUX="rhgb quiet"\nGRUB_ENABLE_BLSCFG=true\n',
      'usr/sbin/grubby': '#!/bin/sh\n',
      'usr/sbin/grub2-mkconfig': '#!/bin/sh\n',
      'boot/grub2/grub.cfg': 'insmod blscfg\nblscfg\n',
      'usr/bin/dracut': '#!/bin/bash\n',
      'usr/lib/dracut/dracut-version.sh': 'DRACUT_VERSION=107\n',
      'usr/lib/kernel/install.d/50-dracut.install': '#!/bin/bash\n',
      ...each(kernels, (release) => ({
        [`boot/loader/entries/0123456789abcdef0123456789abcdef-${release}.conf`]: `title Fedora Linux (${release}) 43\nversion ${release}\nlinux /vmlinuz-${release}\ninitrd /initramfs-${release}.img\noptions root=UUID=${UUID} ro rhgb quiet\n`,
      })),
    }),
  },
  opensuse: {
    boot: { kernel: 'boot/vmlinuz-RELEASE', image: 'boot/initrd-RELEASE', config: 'boot/config-RELEASE' },
    files: (kernels) => ({
      'etc/os-release':
        'NAME="openSUSE Tumbleweed"\nPRETTY_NAME="openSUSE Tumbleweed"\nID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\nVERSION_ID="20260101"\n',
      'etc/default/grub': 'GRUB_TIMEOUT=8\nGRUB_CMDLINE_LINUX_DEFAULT="splash=silent quiet"\nGRUB_CMDLINE_LINUX=""\n',
      'usr/sbin/grub2-mkconfig': '#!/bin/sh\n',
      'boot/grub2/grub.cfg': grubConfig(kernels, 'splash=silent quiet').replaceAll('initrd.img-', 'initrd-'),
      'usr/bin/dracut': '#!/bin/bash\n',
      'usr/lib/dracut/dracut-version.sh': 'DRACUT_VERSION=059\n',
    }),
  },
  gentoo: {
    boot: { kernel: 'boot/vmlinuz-RELEASE', image: null, config: 'boot/config-RELEASE' },
    files: (kernels) => ({
      'etc/os-release': 'NAME=Gentoo\nID=gentoo\nPRETTY_NAME="Gentoo Linux"\n',
      'etc/portage/make.conf': 'COMMON_FLAGS="-O2 -pipe"\n',
      'etc/default/grub': 'GRUB_DISTRIBUTOR="Gentoo"\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n',
      'usr/sbin/grub-mkconfig': '#!/bin/sh\n',
      'boot/grub/grub.cfg': grubConfig(kernels, 'quiet').replace(/^\tinitrd.*\n/gm, ''),
    }),
  },
  nixos: {
    modules: 'nix/store/11111111111111111111111111111111-kernel-modules/lib/modules',
    boot: { kernel: 'boot/kernels/vmlinuz-RELEASE', image: null, config: null },
    files: () => ({
      'etc/os-release':
        'NAME=NixOS\nPRETTY_NAME="NixOS 25.11 (Xantusia)"\nID=nixos\nVERSION_ID="25.11"\nVERSION_CODENAME=xantusia\n',
      'etc/nixos/configuration.nix':
        '{ config, pkgs, ... }:\n\n{\n  imports = [ ./hardware-configuration.nix ];\n  system.stateVersion = "25.11";\n}\n',
      'nix/store/00000000000000000000000000000000-nixos-system-host-25.11/kernel-params':
        'init=/nix/store/x/init loglevel=4',
      'nix/store/00000000000000000000000000000000-nixos-system-host-25.11/kernel-modules':
        '→ /nix/store/11111111111111111111111111111111-kernel-modules',
      'nix/var/nix/profiles/system': '→ system-7-link',
      'nix/var/nix/profiles/system-7-link': '→ /nix/store/00000000000000000000000000000000-nixos-system-host-25.11',
      'run/booted-system': '→ /nix/store/00000000000000000000000000000000-nixos-system-host-25.11',
      'run/current-system': '→ /nix/store/00000000000000000000000000000000-nixos-system-host-25.11',
    }),
  },
} as const satisfies Record<string, Family>

/** A grub.cfg as Debian's grub-mkconfig writes it, with a recovery entry a kernel. */
export function grubConfig(kernels: readonly string[], line: string): string {
  const entry = (title: string, release: string, args: string): string =>
    `menuentry '${title}' --class debian --class gnu-linux {\n\tlinux\t/boot/vmlinuz-${release} root=UUID=${UUID} ro ${args}\n\tinitrd\t/boot/initrd.img-${release}\n}\n`
  return kernels
    .map(
      (release) =>
        entry(`Debian GNU/Linux, with Linux ${release}`, release, line) +
        entry(`Debian GNU/Linux, with Linux ${release} (recovery mode)`, release, 'single'),
    )
    .join('')
}
