import type { Distro } from '../lib/system/system.ts'
import { dnf } from './packages/dnf.ts'

export const fedora: Distro = {
  name: 'Fedora',
  documentation: 'https://docs.fedoraproject.org/en-US/quick-docs/virtualization-getting-started/',
  ids: ['fedora', 'nobara', 'korora', 'ultramarine', 'risios'],
  packages: dnf,
}
