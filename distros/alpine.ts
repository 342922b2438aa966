import type { Distro } from '../lib/system/system.ts'

export const alpine: Distro = {
  name: 'Alpine Linux',
  documentation: 'https://wiki.alpinelinux.org/wiki/KVM',
  ids: ['alpine', 'postmarketos'],
  packages: {
    command: 'apk add',
    unattended: { install: ['apk', 'add'], remove: ['apk', 'del'] },
    packageNames: {
      qemu: 'qemu-system-x86_64',
      libvirt: 'libvirt-daemon libvirt-qemu',
      ovmf: 'ovmf',
      swtpm: 'swtpm',
      'virt-manager': 'virt-manager',
      virtiofsd: 'virtiofsd',
    },
  },
}
