import { headComment } from '../../lib/change/settings.ts'
import type { ImageBuild } from '../../lib/system/system.ts'

const DRACUT =
  'kver=$(cd /usr/lib/modules && echo *) && dracut --force --no-hostonly --add ostree /usr/lib/modules/$kver/initramfs.img $kver'

/**
 * The build of an image for bootc: arguments are in kargs.d, and dracut makes the initramfs in the build, which is that
 * of every machine. Source: https://bootc-dev.github.io/bootc/building/kernel-arguments.html;
 * https://docs.fedoraproject.org/en-US/bootc/initramfs/.
 */
export const bootcBuild: ImageBuild = {
  initramfs: 'dracut',

  argumentsFile: (line) => ({
    // Files are read by name, and of two lists the kernel takes the last.
    path: '/usr/lib/bootc/kargs.d/zz-vfio-scripts.toml',
    text: `${headComment()}kargs = [${line.map((token) => JSON.stringify(token)).join(', ')}]\n`,
  }),

  steps(folder, initramfs) {
    const name = folder.replace(/.*\//, '')
    return [
      `In the Containerfile, with the folder ${name} beside it: COPY ${name}/ /`,
      ...(initramfs ? [`Below that: RUN ${DRACUT}`] : []),
      'Build and push the image; on the machine: bootc upgrade (or rpm-ostree upgrade), and reboot.',
      'To take it back: take these lines out, and build again.',
    ]
  },
}
