import type { Distro } from '../lib/system/system.ts'
import { transactionalZypper } from './packages/zypper.ts'

/** Its root is read-only: changes go into a new snapshot, which the next boot takes. */
export const microos: Distro = {
  name: 'openSUSE MicroOS',
  documentation: 'https://en.opensuse.org/Portal:MicroOS',
  ids: ['opensuse-microos', 'opensuse-aeon', 'aeon', 'opensuse-kalpa', 'suse-microos', 'sle-micro', 'sl-micro'],
  packages: transactionalZypper,
}
