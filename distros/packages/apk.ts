import type { PackageManager } from '../../lib/system/packages.ts'

export const apk: PackageManager = {
  command: 'apk add',
  unattended: { install: ['apk', 'add'], remove: ['apk', 'del'] },
  packageNames: {
    qemu: 'qemu-system-x86_64',
    libvirt: 'libvirt-daemon libvirt-qemu',
    ovmf: 'ovmf',
    swtpm: 'swtpm',
    'virt-install': 'virt-install',
    osinfo: 'libosinfo',
    virtiofsd: 'virtiofsd',
  },
}
