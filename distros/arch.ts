import type { Distro } from '../lib/system/system.ts'
import { pacman } from './packages/pacman.ts'

export const arch: Distro = {
  name: 'Arch Linux',
  documentation: 'https://wiki.archlinux.org/title/PCI_passthrough_via_OVMF',
  ids: [
    'arch',
    'archlinux',
    'archarm',
    'arch32',
    'artix',
    'blackarch',
    'cachyos',
    'endeavouros',
    'garuda',
    'hyperbola',
    'manjaro',
    'manjaro-arm',
    'parabola',
  ],
  packages: pacman,
}
