import type { Packages } from '../lib/system/packages.ts'
import type { Distro } from '../lib/system/system.ts'

const OPENSUSE_PACKAGES: Packages['packageNames'] = {
  qemu: 'qemu-x86',
  libvirt: 'libvirt-daemon-qemu',
  ovmf: 'qemu-ovmf-x86_64',
  swtpm: 'swtpm',
  'virt-manager': 'virt-manager',
  virtiofsd: 'virtiofsd',
}

export const opensuse: Distro = {
  name: 'openSUSE and SLE',
  documentation: 'https://doc.opensuse.org/documentation/leap/virtualization/html/book-virtualization/',
  ids: ['opensuse', 'opensuse-leap', 'opensuse-tumbleweed', 'opensuse-slowroll', 'suse', 'sles', 'sled', 'sles_sap'],
  packages: {
    command: 'zypper install',
    unattended: { install: ['zypper', '-n', 'install'], remove: ['zypper', '-n', 'remove'] },
    packageNames: OPENSUSE_PACKAGES,
  },
}

/** Its root is read-only: changes go into a new snapshot, which the next boot takes. */
export const microos: Distro = {
  name: 'openSUSE MicroOS',
  documentation: 'https://en.opensuse.org/Portal:MicroOS',
  ids: ['opensuse-microos', 'opensuse-aeon', 'aeon', 'opensuse-kalpa', 'suse-microos', 'sle-micro', 'sl-micro'],
  packages: { command: 'transactional-update pkg install', packageNames: OPENSUSE_PACKAGES },
}
