import { addArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter } from '../../lib/system/system.ts'
import { readOnce } from '../boot/boot-files.ts'
import { bootcBuild } from '../boot/bootc-build.ts'
import { BY_HAND, listSteps } from '../boot/by-hand.ts'
import { entryArguments, observeEntries, ostreeEntries } from '../boot/loader-entries.ts'
import { deploymentEvidence } from '../boot/loader-variables.ts'
import { ostreeMenu } from '../boot/systemd-boot-menu.ts'
import { grub } from './grub.ts'

/** bootc, of image-based systems without rpm-ostree: arguments belong to the image that is built, not to a machine. */
export const bootc: BootloaderAdapter = {
  name: 'bootc',
  documentation: 'https://bootc-dev.github.io/bootc/building/kernel-arguments.html',
  proven: 'documentation: the pages on kernel arguments and on the initramfs',

  detect: (host) =>
    findProgram(host.files, 'rpm-ostree') === undefined ? deploymentEvidence(host, 'bootc') : undefined,

  open(host) {
    const last = readOnce(host, () => ostreeEntries(host.files).slice(0, 1))
    return {
      ...BY_HAND,
      configured: () => entryArguments(last()),
      observe: (tokens, absent) => observeEntries(last(), tokens, absent),
      build: bootcBuild,
      entries: () => ostreeMenu(host, ostreeEntries(host.files)),
      menu: () => `${grub.open(host).menu()}; or choose the former deployment there`,

      steps(tokens) {
        const lists = entryArguments(last()).filter(({ token }) => isListMember(token))
        const { rest } = listSteps(lists, tokens)
        const kargs = rest.map((token) => `"${token}"`).join(', ')
        const ids = tokens.filter((token) => !rest.includes(token))
        const list = lists.at(-1)?.token ?? ''
        return [
          'In the Containerfile of the image that this machine runs:',
          ...(ids.length > 0 ? [`    make ${list} say ${ids.reduce(addArgument, list)}`] : []),
          ...(rest.length > 0
            ? [
                `    RUN mkdir -p /usr/lib/bootc/kargs.d && echo 'kargs = [${kargs}]' > /usr/lib/bootc/kargs.d/10-vfio.toml`,
              ]
            : []),
          'Build and push the image, then here: bootc upgrade, and reboot.',
          'Or have all files that the build takes written: add --output FOLDER --apply.',
        ]
      },
    }
  },
}
