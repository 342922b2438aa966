import type { Distro } from '../lib/system/system.ts'
import { portage } from './packages/portage.ts'

export const gentoo: Distro = {
  name: 'Gentoo',
  documentation: 'https://wiki.gentoo.org/wiki/GPU_passthrough_with_virt-manager,_QEMU,_and_KVM',
  ids: ['gentoo', 'funtoo', 'calculate'],
  kernel:
    'in /usr/src/linux: make olddefconfig && make && make modules_install install; of sys-kernel/gentoo-kernel, put the symbols into a file in /etc/kernel/config.d that ends in .config, and emerge it again',
  packages: portage,
}
