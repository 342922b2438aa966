import type { PackageManager } from '../../lib/system/packages.ts'

export const apt: PackageManager = {
  command: 'apt install',
  unattended: {
    install: ['apt-get', 'install', '-y', '--no-install-recommends'],
    remove: ['apt-get', 'remove', '-y'],
  },
  packageNames: {
    qemu: 'qemu-system-x86 qemu-utils',
    // libvirt's network needs dnsmasq, which its package only recommends.
    libvirt: 'libvirt-daemon-system libvirt-clients dnsmasq-base',
    ovmf: 'ovmf',
    swtpm: 'swtpm swtpm-tools',
    'virt-install': 'virtinst',
    osinfo: 'libosinfo-bin',
    virtiofsd: 'virtiofsd',
  },
  // virtiofsd has its own package since Debian 13 and Ubuntu 24.04.
  releases: Object.fromEntries(
    ['bullseye', 'bookworm', 'focal', 'jammy'].map((name) => [name, { virtiofsd: 'qemu-system-common' }]),
  ),
}
