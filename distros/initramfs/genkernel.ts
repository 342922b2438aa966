import type { Host, InitramfsAdapter, KernelImage } from '../../lib/system/system.ts'
import { findImages } from '../boot/boot-files.ts'
import { BY_HAND, keepOutStep } from '../boot/by-hand.ts'
import { otherImages } from '../boot/mkinitcpio-images.ts'
import { onRoot } from '../boot/root-script.ts'

const PROGRAM = '/usr/bin/genkernel'

/**
 * genkernel, by choice on Gentoo. It takes all of /etc/modprobe.d along, but builds from kernel sources with options
 * that only the person knows, so it gives steps. Its init runs no scripts of ours: defaults/linuxrc.
 * Source: append_modprobed() and append_modules() in gen_initramfs.sh.
 */
export const genkernel: InitramfsAdapter = {
  name: 'genkernel',
  documentation: 'https://wiki.gentoo.org/wiki/Genkernel',

  detect(host) {
    const [image] = genkernelImages(host)
    return !host.files.exists(PROGRAM) || image === undefined ? undefined : `${PROGRAM}, and ${image.path}`
  },

  open: (host) => ({
    ...BY_HAND,
    ...onRoot(host),
    images: () => genkernelImages(host),
    // lsinitrd comes with genkernel's package.
    listCommand: (image) => ['lsinitrd', image],

    steps({ module, bootScript, drivers }) {
      if (bootScript !== null)
        return [keepOutStep(drivers, 'AMODULES_* in /etc/genkernel.conf, doload= on the kernel command line')]
      return [
        `In /etc/genkernel.conf: AMODULES_MISC="${module}" (with what is in it already).`,
        'genkernel --kernel-config=/proc/config.gz initramfs (with the options that you use otherwise).',
        `Add doload=${module} to the kernel command line: it is loaded before udev finds the drivers.`,
        `For ${host.kernels.map(({ release }) => release).join(', ') || 'each kernel'}; see that the image is newer than the change.`,
      ]
    },
  }),
}

function genkernelImages(host: Host): KernelImage[] {
  return [...otherImages(host), ...findImages(host, (release) => [`/boot/initramfs-genkernel-x86_64-${release}`])]
}
