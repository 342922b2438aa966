import type { Distro } from '../lib/system/system.ts'
import { dnf } from './packages/dnf.ts'

export const rhel: Distro = {
  name: 'RHEL and its rebuilds',
  documentation:
    'https://docs.redhat.com/en/documentation/red_hat_enterprise_linux/9/html/configuring_and_managing_virtualization/',
  ids: [
    'rhel',
    'centos',
    'rocky',
    'almalinux',
    'ol',
    'eurolinux',
    'scientific',
    'virtuozzo',
    'cloudlinux',
    'tencentos',
  ],
  // virt-manager is deprecated on RHEL, yet installable; RHEL 10 leaves it to Cockpit.
  packages: dnf,
}
