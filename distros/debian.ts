import type { Distro } from '../lib/system/system.ts'
import { apt } from './packages/apt.ts'

export const debian: Distro = {
  name: 'Debian and Ubuntu',
  documentation: 'https://www.debian.org/doc/manuals/debian-handbook/ and https://help.ubuntu.com/',
  ids: [
    'debian',
    'ubuntu',
    'linuxmint',
    'pop',
    'pop-os',
    'zorin',
    'zorin-os',
    'elementary',
    'elementary-os',
    'kali',
    'devuan',
    'raspbian',
    'neon',
    'deepin',
    'pureos',
    'parrot',
    'gnoppix',
  ],
  packages: apt,
}
