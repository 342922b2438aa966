import type { Distro } from '../lib/plan/system.ts'

export const debian: Distro = {
  name: 'Debian and Ubuntu',
  documentation: 'https://www.debian.org/doc/manuals/debian-handbook/ and https://help.ubuntu.com/',
  ids: ['debian', 'ubuntu', 'linuxmint', 'pop', 'zorin', 'elementary', 'kali', 'devuan', 'raspbian', 'neon'],
}
