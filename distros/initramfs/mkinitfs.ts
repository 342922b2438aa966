import { modprobeFiles, parseModprobe } from '../../lib/edit/modprobe.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { BootStage, BootStep } from '../../lib/system/boot.ts'
import { hasBusyboxModprobe, listedLoads, modulesBelow, textFiles, withInstalls } from '../../lib/system/boot-steps.ts'
import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { findImages } from '../boot/boot-files.ts'
import { BY_HAND, keepOutStep } from '../boot/by-hand.ts'
import { onRoot } from '../boot/root-script.ts'

const PROGRAMS = ['/sbin/mkinitfs', '/usr/sbin/mkinitfs']
const CONFIG = '/etc/mkinitfs/mkinitfs.conf'
const FEATURES = ['/etc/mkinitfs/features.d', '/usr/share/mkinitfs/features.d']
const MODULES = '/etc/modules'

/**
 * mkinitfs of Alpine Linux. Its image is for finding the root file system, and has no GPU drivers unless somebody added
 * them. Its init runs no scripts of ours: initramfs-init.in.
 */
export const mkinitfs: InitramfsAdapter = {
  name: 'mkinitfs',
  documentation: 'https://wiki.alpinelinux.org/wiki/Initramfs_init',
  proven: 'documentation: its own code, read; it writes nothing',

  detect: ({ files }) => (files.exists(CONFIG) && PROGRAMS.some((path) => files.exists(path)) ? CONFIG : undefined),

  stageOf(image, release) {
    if (!image.exists('/sbin/nlplug-findfs') && !image.exists('/usr/sbin/nlplug-findfs')) return undefined
    return { ...stageWith(image, release, true), modules: modulesBelow(image, `/lib/modules/${release}`) }
  },

  open: (host) => ({
    ...BY_HAND,
    ...onRoot(host),
    nextStage: (release) => ({ ...stageWith(host.files, release, takesModules(host.files)), modules: null }),
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

/**
 * Returns the stage of an image: its init loads what is in /etc/modules, which few images have, and then nlplug-findfs
 * what the modaliases name, with libkmod, until the root file system is found. Source: initramfs-init.in, nlplug-findfs.c.
 */
function stageWith(files: Reader, release: string, hasModules: boolean): Omit<BootStage, 'modules'> {
  const modprobe = parseModprobe(modprobeFiles(files, release, ['/etc/modprobe.d', '/lib/modprobe.d']))
  const loads = hasModules
    ? textFiles(files, [MODULES]).flatMap(({ path, text }) =>
        listedLoads({ path, text: text.replace(/#.*/g, '') }, false),
      )
    : []
  const coldplug: BootStep = { kind: 'coldplug', beside: [], cause: '/init: nlplug-findfs' }
  return { modprobe, busybox: hasBusyboxModprobe(files), steps: withInstalls(files, modprobe, [...loads, coldplug]) }
}

/** Does one of the chosen features take /etc/modules into the image? */
function takesModules(files: Reader): boolean {
  const names = wordsIn(
    textFiles(files, [CONFIG]).map(({ text }) => text),
    'features',
  )
  const paths = names.flatMap((name) => FEATURES.map((folder) => `${folder}/${name}.files`))
  return textFiles(files, paths).some(({ text }) => text.split('\n').some((line) => line.trim() === MODULES))
}
