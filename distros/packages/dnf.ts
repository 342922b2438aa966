import type { PackageManager } from '../../lib/system/packages.ts'

export const dnf: PackageManager = {
  command: 'dnf install',
  unattended: { install: ['dnf', 'install', '-y'], remove: ['dnf', 'remove', '-y'] },
  packageNames: {
    qemu: 'qemu-kvm',
    libvirt: 'libvirt',
    ovmf: 'edk2-ovmf',
    swtpm: 'swtpm swtpm-tools',
    'virt-install': 'virt-install',
    osinfo: 'libosinfo',
    virtiofsd: 'virtiofsd',
  },
}

/** The same packages, layered on an image instead of installed in place. */
export const layeredDnf: PackageManager = { command: 'rpm-ostree install', packageNames: dnf.packageNames }
