// Fake systems of every boot loader but GRUB, for tests. Their kernels have vfio-pci built in and the IOMMU off, so that
// both an argument and a list of IDs go on the command line.
import { join } from 'node:path'
import { expect } from 'vitest'
import { apply, bind, card } from './bind.ts'
import type { Ran } from './run.ts'
import { type System, snapshotOf, systemDir } from './system.ts'

export const ROOT = 'root=UUID=6c616221-0000-4000-8000-000000000001'
export const IDS = 'vfio-pci.ids=10de:1cb6,10de:0fb9'
export const OURS = `intel_iommu=on ${IDS}`
export const MACHINE_ID = '0123456789abcdef0123456789abcdef'
export const RELEASES = ['6.9.1-1', '6.9.2-1'] as const
export const CMDLINE = 'etc/kernel/cmdline'

export type Files = Record<string, string | null>
export type Loader = Pick<System, 'family' | 'kernels' | 'builtin' | 'iommuByDefault'> & { files: Files }

const noGrub: Files = {
  'etc/default/grub': null,
  'usr/sbin/grub-mkconfig': null,
  'usr/sbin/update-grub': null,
  'boot/grub/grub.cfg': null,
}

const entries = (
  folder: string,
  text: (release: string) => string,
  name = (release: string): string => release,
): Files => Object.fromEntries(RELEASES.map((release) => [`${folder}/${name(release)}.conf`, text(release)]))

const entry = (release: string, line: string): string =>
  `title Linux ${release}\nversion ${release}\nlinux /vmlinuz-${release}\ninitrd /initramfs-${release}.img\noptions ${line}\n`

/** Fedora, with a rescue entry. */
export const grubby: Loader = {
  family: 'fedora',
  kernels: RELEASES,
  files: {
    [`boot/loader/entries/${MACHINE_ID}-0-rescue.conf`]: `title Fedora Linux (0-rescue-${MACHINE_ID}) 43\nversion 0-rescue\nlinux /vmlinuz-0-rescue-${MACHINE_ID}\noptions ${ROOT} ro rhgb\n`,
  },
}

/** Arch Linux: entries by hand. */
export const systemdBoot: Loader = {
  family: 'arch',
  files: {
    'boot/loader/entries/arch-fallback.conf': `title Arch Linux (fallback)\nlinux /vmlinuz-linux\ninitrd /initramfs-linux-fallback.img\noptions ${ROOT} rw\n`,
  },
}

/** Debian with systemd-boot: kernel-install makes the entries. */
export const kernelInstall: Loader = {
  kernels: RELEASES,
  files: {
    ...noGrub,
    'etc/machine-id': `${MACHINE_ID}\n`,
    'boot/efi/loader/loader.conf': 'timeout 3\n',
    ...entries(
      'boot/efi/loader/entries',
      (release) => `# Boot Loader Specification type#1 entry\n${entry(release, `${ROOT} ro quiet initrd=/x`)}`,
      (release) => `${MACHINE_ID}-${release}`,
    ),
  },
}

export const sdbootutil: Loader = {
  family: 'opensuse',
  kernels: RELEASES,
  files: {
    ...noGrub,
    'usr/sbin/grub2-mkconfig': null,
    'boot/grub2/grub.cfg': null,
    'usr/bin/sdbootutil': '#!/bin/bash\n',
    [CMDLINE]: `${ROOT} splash=silent quiet\n`,
    ...entries(
      'boot/efi/loader/entries',
      (release) => entry(release, `${ROOT} splash=silent quiet`),
      (release) => `opensuse-tumbleweed-${release}-1`,
    ),
  },
}

const popOptions = (options: string): string => JSON.stringify(options.split(' '))

/** What kernelstub keeps, with these options of the user's. */
export const stubConfiguration = (options: string): string =>
  `{\n  "default": {\n    "kernel_options": ["quiet", "splash"]\n  },\n  "user": {\n    "kernel_options": ${popOptions(options)},\n    "esp_path": "/boot/efi"\n  }\n}\n`

export const kernelstub: Loader = {
  kernels: RELEASES,
  files: {
    ...noGrub,
    'usr/bin/kernelstub': '#!/usr/bin/python3\n',
    'etc/kernelstub/configuration': stubConfiguration('quiet loglevel=0 splash'),
    'boot/efi/loader/entries/Pop_OS-current.conf': `title Pop!_OS\nlinux /EFI/Pop_OS/vmlinuz.efi\ninitrd /EFI/Pop_OS/initrd.img\noptions ${ROOT} ro quiet loglevel=0 splash\n`,
    'boot/efi/loader/entries/Recovery.conf':
      'title Pop!_OS Recovery\nlinux /EFI/Recovery/vmlinuz.efi\noptions boot=casper\n',
  },
}

/** A Silverblue whose later deployment has a list already. */
export const rpmOstree: Loader = {
  kernels: RELEASES,
  files: {
    ...noGrub,
    'usr/bin/rpm-ostree': '',
    'ostree/deploy/fedora/deploy/0f3c.0.origin': '[origin]\n',
    'boot/loader/entries/ostree-1-fedora.conf': `title Fedora 41 (ostree:1)\nversion 1\nlinux /ostree/a/vmlinuz\noptions ${ROOT} rw\n`,
    'boot/loader/entries/ostree-2-fedora.conf': `title Fedora 41 (ostree:0)\nversion 2\nlinux /ostree/b/vmlinuz\noptions ${ROOT} rw vfio_pci.ids=1b21:2142 quiet\n`,
  },
}

export const bootc: Loader = {
  files: {
    ...noGrub,
    'usr/bin/bootc': '',
    'ostree/deploy/default/deploy/0f3c.0.origin': '[origin]\n',
    'boot/loader/entries/ostree-1-default.conf': `title bootc\nversion 1\nlinux /ostree/a/vmlinuz\noptions ${ROOT} rw\n`,
  },
}

const proxmoxFiles: Files = {
  'etc/kernel/proxmox-boot-uuids': 'ABCD-1234\n',
  'usr/sbin/proxmox-boot-tool': '#!/bin/bash\n',
}

export const proxmox: Loader = {
  files: { ...noGrub, ...proxmoxFiles, [CMDLINE]: 'root=ZFS=rpool/ROOT/pve-1 boot=zfs\n' },
}

export const proxmoxGrub: Loader = { files: proxmoxFiles }

/** CachyOS and others with limine-entry-tool. */
export const limineTool: Loader = {
  files: {
    ...noGrub,
    'usr/bin/limine-update': '#!/bin/bash\n',
    'boot/limine.conf': '/CachyOS\n  protocol: linux\n  cmdline: quiet\n',
    'etc/default/limine': `ESP_PATH="/boot"\nKERNEL_CMDLINE[default]+="quiet vfio_pci.ids=1b21:2142 ${ROOT}"\n`,
  },
}

export const limine: Loader = {
  files: {
    ...noGrub,
    'boot/limine/limine.conf': `timeout: 5\n\n/Arch\n    protocol: linux\n    path: boot():/vmlinuz-linux\n    cmdline: ${ROOT} rw vfio-pci.ids=1b21:2142 quiet\n`,
  },
}

export const refind: Loader = {
  files: {
    ...noGrub,
    'boot/efi/EFI/refind/refind.conf': 'timeout 20\n',
    'boot/refind_linux.conf': `# mine\n"Boot with standard options"  "${ROOT} ro quiet vfio-pci.ids=1b21:2142"\n"Boot to single-user mode"  "${ROOT} single"\n`,
  },
}

export function loaderDir({ files, ...system }: Loader, more: Files = {}): string {
  return systemDir({
    machine: 'i9-14900k-vmd',
    iommuByDefault: false,
    builtin: ['vfio_pci', 'vfio'],
    ...system,
    files: { ...files, ...more },
  })
}

/** All that a boot is made from. */
export const treeOf = (dir: string): string =>
  ['etc', 'boot', 'usr'].map((one) => snapshotOf(join(dir, one))).join('\n')

/** The commands that are left to the person. */
export function commandsOf(ran: Ran): string[] {
  expect(ran.stderr).toBe('')
  const { commands } = JSON.parse(ran.stdout) as { commands: string[][] }
  return commands.map((argv) => argv.join(' '))
}

export const applied = (dir: string, ...args: string[]): string[] => commandsOf(apply(dir, card, '--json', ...args))
export const undone = (dir: string): string[] => commandsOf(bind(dir, '--undo', '--apply', '--no-commands', '--json'))

/** A unified image as far as its command line goes: a PE file with one section. */
export function unifiedImage(line: string | null): string {
  const bytes = Buffer.alloc(0x200 + (line?.length ?? 0) + 1)
  bytes.write('MZ', 0)
  bytes.writeUInt32LE(0x40, 0x3c)
  bytes.write('PE\0\0', 0x40, 'latin1')
  bytes.writeUInt16LE(2, 0x46)
  bytes.writeUInt16LE(16, 0x54)
  const table = 0x40 + 24 + 16
  bytes.write('.osrel', table)
  if (line !== null) {
    bytes.write('.cmdline', table + 40)
    bytes.writeUInt32LE(line.length + 1, table + 48)
    bytes.writeUInt32LE(line.length + 1, table + 56)
    bytes.writeUInt32LE(0x200, table + 60)
    bytes.write(line, 0x200, 'latin1')
  }
  return bytes.toString('latin1')
}

const LINE = `${ROOT} rw quiet`

/** Arch Linux whose preset makes a unified image, and nothing else. */
export const ukiPreset: Loader = {
  family: 'arch',
  kernels: ['6.9.1-arch1-1'],
  files: {
    'boot/loader/entries/arch.conf': null,
    'lib/modules/6.9.1-arch1-1/pkgbase': 'linux\n',
    'boot/initramfs-linux.img': null,
    'etc/mkinitcpio.d/linux.preset': `ALL_kver="/boot/vmlinuz-linux"\nPRESETS=('default')\ndefault_uki="/efi/EFI/Linux/arch-linux.efi"\n`,
    'efi/EFI/Linux/arch-linux.efi': unifiedImage(LINE),
    'efi/loader/loader.conf': 'timeout 3\n',
  },
}

export const ukiDracut: Loader = {
  family: 'gentoo',
  kernels: RELEASES,
  files: {
    ...noGrub,
    'usr/sbin/grub-mkconfig': null,
    'usr/bin/dracut': '#!/bin/bash\n',
    'usr/lib/dracut/dracut-version.sh': 'DRACUT_VERSION=107\n',
    'etc/dracut.conf.d/uefi.conf': 'uefi="yes"\n',
    ...Object.fromEntries(
      RELEASES.map((release) => [`efi/EFI/Linux/linux-${release}-${MACHINE_ID}.efi`, unifiedImage(LINE)]),
    ),
  },
}

/** kernel-install with ukify, the initramfs by dracut. */
export const ukiInstall: Loader = {
  family: 'gentoo',
  kernels: RELEASES,
  files: {
    ...ukiDracut.files,
    'etc/dracut.conf.d/uefi.conf': null,
    'usr/lib/kernel/install.d/50-dracut.install': '#!/bin/bash\n',
    'usr/lib/kernel/install.d/60-ukify.install': '#!/usr/bin/python3\n',
    'etc/kernel/install.conf': '# mine\nlayout=uki\nuki_generator=ukify\n',
    'etc/machine-id': `${MACHINE_ID}\n`,
    ...Object.fromEntries(
      RELEASES.flatMap((release) => [
        [`efi/EFI/Linux/linux-${release}-${MACHINE_ID}.efi`, null],
        [`efi/EFI/Linux/${MACHINE_ID}-${release}.efi`, unifiedImage(LINE)],
        [`usr/lib/modules/${release}/vmlinuz`, 'kernel'],
      ]),
    ),
  },
}
