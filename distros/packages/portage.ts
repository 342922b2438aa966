import type { PackageManager } from '../../lib/system/packages.ts'

export const portage: PackageManager = {
  command: 'emerge --ask',
  unattended: { install: ['emerge', '--noreplace'], remove: ['emerge', '--depclean'] },
  packageNames: {
    qemu: 'app-emulation/qemu',
    libvirt: 'app-emulation/libvirt',
    ovmf: 'sys-firmware/edk2-bin',
    swtpm: 'app-crypt/swtpm',
    'virt-install': 'app-emulation/virt-manager',
    osinfo: 'sys-libs/libosinfo',
    virtiofsd: 'app-emulation/virtiofsd',
  },
}
