import type { Distro } from '../lib/system/system.ts'
import { transactionalZypper } from './packages/zypper.ts'

/** openSUSE MicroOS: the root is read-only, and changes go into a new snapshot for the next boot. */
export const microos: Distro = {
  name: 'openSUSE MicroOS',
  documentation: 'https://en.opensuse.org/Portal:MicroOS',
  ids: ['opensuse-microos', 'opensuse-aeon', 'aeon', 'opensuse-kalpa', 'suse-microos', 'sle-micro', 'sl-micro'],
  packages: transactionalZypper,
}
