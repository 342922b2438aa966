import type { PackageManager } from '../../lib/system/packages.ts'

export const zypper: PackageManager = {
  command: 'zypper install',
  unattended: { install: ['zypper', '-n', 'install'], remove: ['zypper', '-n', 'remove'] },
  packageNames: {
    qemu: 'qemu-x86',
    libvirt: 'libvirt-daemon-qemu',
    ovmf: 'qemu-ovmf-x86_64',
    swtpm: 'swtpm',
    'virt-install': 'virt-install',
    osinfo: 'libosinfo',
    virtiofsd: 'virtiofsd',
  },
}

/** The same packages, in a new snapshot instead of in place. */
export const transactionalZypper: PackageManager = {
  command: 'transactional-update pkg install',
  packageNames: zypper.packageNames,
}
