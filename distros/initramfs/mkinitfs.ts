import type { InitramfsAdapter } from '../../lib/system/system.ts'
import { findPath } from '../boot/boot-files.ts'
import { keepOutStep, rootPlace, rootSettings } from '../boot/root-script.ts'

const PROGRAM = '/sbin/mkinitfs'
const CONFIG = '/etc/mkinitfs/mkinitfs.conf'

/** Alpine Linux. Its image is for finding the root file system; GPU drivers are not in it unless somebody put them there. */
export const mkinitfs: InitramfsAdapter = {
  name: 'mkinitfs',
  documentation: 'https://wiki.alpinelinux.org/wiki/Initramfs_init',
  detect: ({ files }) =>
    files.exists(CONFIG) && (files.exists(PROGRAM) || files.exists('/usr/sbin/mkinitfs')) ? CONFIG : undefined,

  open(host) {
    const { files, kernels } = host
    return {
      isManual: () => true,

      /** Its init runs no scripts of ours: initramfs-init.in. */
      bootScriptLocation: () => rootPlace(host),

      settings: ({ bootScript }) => (bootScript === null ? [] : rootSettings(files, bootScript)),
      commands: () => [],
      images: () =>
        kernels.flatMap(({ release }) => {
          // 6.12.1-0-lts has initramfs-lts.
          const path = findPath(files, `/boot/initramfs-${release.replace(/^.*-/, '')}`)
          return path === undefined ? [] : [{ release, path }]
        }),
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
    }
  },
}
