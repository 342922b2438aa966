import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { findImages } from '../boot/boot-files.ts'
import { BY_HAND, keepOutStep } from '../boot/by-hand.ts'
import { onRoot } from '../boot/root-script.ts'

const PROGRAMS = ['/sbin/mkinitfs', '/usr/sbin/mkinitfs']
const CONFIG = '/etc/mkinitfs/mkinitfs.conf'

/**
 * mkinitfs of Alpine Linux. Its image is for finding the root file system, and has no GPU drivers unless somebody added
 * them. Its init runs no scripts of ours: initramfs-init.in.
 */
export const mkinitfs: InitramfsAdapter = {
  name: 'mkinitfs',
  documentation: 'https://wiki.alpinelinux.org/wiki/Initramfs_init',

  detect: ({ files }) => (files.exists(CONFIG) && PROGRAMS.some((path) => files.exists(path)) ? CONFIG : undefined),

  open: (host) => ({
    ...BY_HAND,
    ...onRoot(host),
    // The image of 6.12.1-0-lts is initramfs-lts.
    images: () => findImages(host, (release) => [`/boot/initramfs-${release.replace(/^.*-/, '')}`]),
    listCommand: (image) => ['sh', '-c', 'zcat "$1" | cpio -t', 'sh', image],

    steps({ module, modprobe, bootScript, drivers }) {
      if (bootScript !== null) return [keepOutStep(drivers, `kms among features="..." in ${CONFIG}`)]
      return [
        `echo 'kernel/drivers/vfio' > /etc/mkinitfs/features.d/vfio.modules`,
        `printf '%s\\n' ${modprobe.join(' ')} > /etc/mkinitfs/features.d/vfio.files`,
        `In ${CONFIG}: vfio among features="...".`,
        ...host.kernels.map(({ release }) => `mkinitfs ${release}`),
        `echo ${module} >> /etc/modules`,
      ]
    },
  }),
}
