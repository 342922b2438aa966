import { headComment } from '../../lib/change/settings.ts'
import type { ImageBuild } from '../../lib/system/system.ts'
import { DRACUT_DROP_IN } from './dracut-stage.ts'

const DRACUT =
  'kver=$(cd /usr/lib/modules && echo *) && dracut --force --no-hostonly --add ostree /usr/lib/modules/$kver/initramfs.img $kver'

/**
 * The build of an image for bootc: arguments are in kargs.d, and dracut makes the initramfs in the build, which is that
 * of every machine. Source: https://bootc-dev.github.io/bootc/building/kernel-arguments.html;
 * https://docs.fedoraproject.org/en-US/bootc/initramfs/; https://blue-build.org/reference/modules/kargs/ on upgrades.
 */
export const bootcBuild: ImageBuild = {
  initramfs: 'dracut',
  initramfsFile: DRACUT_DROP_IN,
  install: ['dnf', 'install', '-y'],

  argumentsFile: (line, kind) => ({
    // Files are read by name, and of two lists the kernel takes the last.
    path: `/usr/lib/bootc/kargs.d/zz-vfio-scripts${kind === 'tuning' ? '-tuning' : ''}.toml`,
    text: `${headComment()}kargs = [${line.map((token) => JSON.stringify(token)).join(', ')}]\n`,
  }),

  steps(folder, { initramfs, commands }) {
    const name = folder.replace(/.*\//, '')
    return [
      ...commands.map((argv) => `In the Containerfile: RUN ${argv.join(' ')}`),
      `In the Containerfile, with the folder ${name} beside it: COPY ${name}/ /`,
      ...(initramfs ? [`Below that: RUN ${DRACUT}`] : []),
      'Build and push the image; on the machine: bootc upgrade (rpm-ostree upgrade leaves kargs.d out), and reboot.',
      'To take it back: take these lines out, and build again.',
    ]
  },
}
