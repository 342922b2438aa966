import type { Distro } from '../lib/system/system.ts'
import { apk } from './packages/apk.ts'

export const alpine: Distro = {
  name: 'Alpine Linux',
  documentation: 'https://wiki.alpinelinux.org/wiki/KVM',
  ids: ['alpine', 'postmarketos'],
  packages: apk,
}
