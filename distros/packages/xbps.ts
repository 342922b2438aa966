import type { PackageManager } from '../../lib/system/packages.ts'

export const xbps: PackageManager = {
  command: 'xbps-install',
  unattended: { install: ['xbps-install', '-y'], remove: ['xbps-remove', '-y'] },
  packageNames: {
    qemu: 'qemu',
    libvirt: 'libvirt',
    ovmf: 'edk2-ovmf',
    swtpm: 'swtpm',
    'virt-install': 'virt-manager-tools',
    osinfo: 'libosinfo',
    virtiofsd: 'virtiofsd',
  },
}
