import type { Distro } from '../lib/system/system.ts'
import { xbps } from './packages/xbps.ts'

export const voidLinux: Distro = {
  name: 'Void Linux',
  documentation: 'https://docs.voidlinux.org/config/containers-and-vms/libvirt.html',
  ids: ['void'],
  packages: xbps,
}
