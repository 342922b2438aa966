import type { PackageManager } from '../../lib/system/packages.ts'

export const pacman: PackageManager = {
  command: 'pacman -S',
  unattended: { install: ['pacman', '-S', '--needed', '--noconfirm'], remove: ['pacman', '-Rs', '--noconfirm'] },
  packageNames: {
    qemu: 'qemu-desktop',
    libvirt: 'libvirt',
    ovmf: 'edk2-ovmf',
    swtpm: 'swtpm',
    'virt-install': 'virt-install',
    osinfo: 'libosinfo',
    virtiofsd: 'virtiofsd',
  },
}
