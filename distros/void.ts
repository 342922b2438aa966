import type { Distro } from '../lib/system/system.ts'

export const voidLinux: Distro = {
  name: 'Void Linux',
  documentation: 'https://docs.voidlinux.org/config/containers-and-vms/libvirt.html',
  ids: ['void'],
  packages: {
    command: 'xbps-install',
    unattended: { install: ['xbps-install', '-y'], remove: ['xbps-remove', '-y'] },
    packageNames: {
      qemu: 'qemu',
      libvirt: 'libvirt',
      ovmf: 'edk2-ovmf',
      swtpm: 'swtpm',
      'virt-manager': 'virt-manager',
      virtiofsd: 'virtiofsd',
    },
  },
}
