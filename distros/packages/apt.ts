import type { PackageManager } from '../../lib/system/packages.ts'

export const apt: PackageManager = {
  command: 'apt install',
  unattended: {
    install: ['apt-get', 'install', '-y', '--no-install-recommends'],
    remove: ['apt-get', 'remove', '-y'],
  },
  packageNames: {
    // SPICE, by which a guest is seen, is a package of its own, which QEMU's only recommends.
    qemu: 'qemu-system-x86 qemu-utils qemu-system-modules-spice',
    // libvirt's network needs dnsmasq, which its package only recommends.
    libvirt: 'libvirt-daemon-system libvirt-clients dnsmasq-base',
    ovmf: 'ovmf',
    swtpm: 'swtpm swtpm-tools',
    'virt-install': 'virtinst',
    osinfo: 'libosinfo-bin',
    virtiofsd: 'virtiofsd',
  },
  // virtiofsd and SPICE have packages of their own since Debian 13 and Ubuntu 24.04.
  releases: Object.fromEntries(
    ['bullseye', 'bookworm', 'focal', 'jammy'].map((name) => [
      name,
      { qemu: 'qemu-system-x86 qemu-utils', virtiofsd: 'qemu-system-common' },
    ]),
  ),
}
