import type { Distro } from '../lib/system/system.ts'
import { layeredDnf } from './packages/dnf.ts'

const BRANDS = ['bazzite', 'bluefin', 'aurora', 'ucore']
const DESKTOPS = ['silverblue', 'kinoite', 'sericea', 'sway-atomic', 'onyx', 'budgie-atomic', 'cosmic-atomic']

/** Fedora Atomic: packages are layered on an image (rpm-ostree), or built into it (bootc). */
export const fedoraAtomic: Distro = {
  name: 'Fedora Atomic',
  documentation: 'https://docs.fedoraproject.org/en-US/fedora-silverblue/',
  ids: [...BRANDS, ...[...DESKTOPS, 'coreos', 'iot', ...BRANDS].map((variant) => `fedora/${variant}`)],
  packages: layeredDnf,
}
