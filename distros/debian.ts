import type { Distro } from '../lib/plan/system.ts'

export const debian: Distro = {
  name: 'Debian and Ubuntu',
  documentation: 'https://www.debian.org/doc/manuals/debian-handbook/ and https://help.ubuntu.com/',
  ids: [
    'debian',
    'ubuntu',
    'linuxmint',
    'pop',
    'pop-os',
    'zorin',
    'zorin-os',
    'elementary',
    'elementary-os',
    'kali',
    'devuan',
    'raspbian',
    'neon',
    'deepin',
    'pureos',
    'parrot',
  ],
  packages: {
    command: 'apt install',
    unattended: {
      install: ['apt-get', 'install', '-y', '--no-install-recommends'],
      remove: ['apt-get', 'remove', '-y'],
    },
    names: {
      qemu: 'qemu-system-x86',
      libvirt: 'libvirt-daemon-system',
      ovmf: 'ovmf',
      swtpm: 'swtpm swtpm-tools',
      'virt-manager': 'virt-manager',
      // Before Debian 13 and Ubuntu 24.04 it is part of qemu-system-common.
      virtiofsd: 'virtiofsd',
    },
  },
}
