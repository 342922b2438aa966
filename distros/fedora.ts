import type { Packages } from '../lib/system/packages.ts'
import type { Distro } from '../lib/system/system.ts'

const FEDORA_PACKAGES: Packages['packageNames'] = {
  qemu: 'qemu-kvm',
  libvirt: 'libvirt',
  ovmf: 'edk2-ovmf',
  swtpm: 'swtpm swtpm-tools',
  'virt-manager': 'virt-manager',
  virtiofsd: 'virtiofsd',
}

const DNF = { install: ['dnf', 'install', '-y'], remove: ['dnf', 'remove', '-y'] }

export const fedora: Distro = {
  name: 'Fedora',
  documentation: 'https://docs.fedoraproject.org/en-US/quick-docs/virtualization-getting-started/',
  ids: ['fedora', 'nobara', 'korora', 'ultramarine', 'risios'],
  packages: { command: 'dnf install', unattended: DNF, packageNames: FEDORA_PACKAGES },
}

function ofFedora(variant: string): string {
  return `fedora/${variant}`
}

/** Packages are layered on an image (rpm-ostree), or built into it (bootc). */
export const fedoraAtomic: Distro = {
  name: 'Fedora Atomic',
  documentation: 'https://docs.fedoraproject.org/en-US/fedora-silverblue/',
  ids: [
    'bazzite',
    'bluefin',
    'aurora',
    'ucore',
    ...['silverblue', 'kinoite', 'sericea', 'sway-atomic', 'onyx', 'budgie-atomic', 'cosmic-atomic'].map(ofFedora),
    ...['coreos', 'iot', 'bazzite', 'bluefin', 'aurora', 'ucore'].map(ofFedora),
  ],
  packages: { command: 'rpm-ostree install', packageNames: FEDORA_PACKAGES },
}

export const rhel: Distro = {
  name: 'RHEL and its rebuilds',
  documentation:
    'https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/configuring_and_managing_virtualization/',
  ids: ['rhel', 'centos', 'rocky', 'almalinux', 'ol', 'eurolinux', 'scientific', 'virtuozzo', 'cloudlinux'],
  // virt-manager is deprecated there, yet installable; RHEL 10 leaves it to Cockpit.
  packages: { command: 'dnf install', unattended: DNF, packageNames: FEDORA_PACKAGES },
}
