import type { Distro } from '../lib/system/system.ts'
import { zypper } from './packages/zypper.ts'

export const opensuse: Distro = {
  name: 'openSUSE and SLE',
  documentation: 'https://doc.opensuse.org/documentation/leap/virtualization/html/book-virtualization/',
  ids: ['opensuse', 'opensuse-leap', 'opensuse-tumbleweed', 'opensuse-slowroll', 'suse', 'sles', 'sled', 'sles_sap'],
  packages: zypper,
}
