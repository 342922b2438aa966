import type { Distro } from '../lib/system/system.ts'

export const arch: Distro = {
  name: 'Arch Linux',
  documentation: 'https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF',
  ids: [
    'arch',
    'archlinux',
    'archarm',
    'arch32',
    'artix',
    'blackarch',
    'cachyos',
    'endeavouros',
    'garuda',
    'hyperbola',
    'manjaro',
    'manjaro-arm',
    'parabola',
  ],
  packages: {
    command: 'pacman -S',
    unattended: { install: ['pacman', '-S', '--needed', '--noconfirm'], remove: ['pacman', '-Rs', '--noconfirm'] },
    packageNames: {
      qemu: 'qemu-desktop',
      libvirt: 'libvirt',
      ovmf: 'edk2-ovmf',
      swtpm: 'swtpm',
      'virt-manager': 'virt-manager',
      virtiofsd: 'virtiofsd',
    },
  },
}
