import { addArgument, isListMember } from '../../lib/edit/kernel-arguments.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter } from '../../lib/system/system.ts'
import { entryArguments, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { listSteps } from './difference.ts'
import { grub } from './grub.ts'

/** Image-based systems without rpm-ostree: arguments belong to the image that is built, not to this machine. */
export const bootc: BootloaderAdapter = {
  name: 'bootc',
  documentation: 'https://bootc-dev.github.io/bootc/building/kernel-arguments.html',
  detect(host) {
    const program = findProgram(host.files, 'bootc')
    if (program === undefined || findProgram(host.files, 'rpm-ostree') !== undefined) return undefined
    if (host.running && host.machine.exists('/run/ostree-booted'))
      return { kind: 'booted', why: `/run/ostree-booted, and ${program}` }
    return host.files.exists('/ostree/deploy')
      ? { kind: 'configured', why: `/ostree/deploy and ${program}` }
      : undefined
  },

  open(host) {
    const { files } = host
    return {
      isManual: () => true,

      configured: () => entryArguments(readEntries(files).slice(-1)),
      settings: () => [],
      commands: () => [],
      observe: (tokens, absent) => observeEntries(readEntries(files).slice(-1), tokens, absent),
      menu: () => `${grub.open(host).menu()}; or choose the former deployment there`,

      steps(tokens) {
        const lists = bootc
          .open(host)
          .configured()
          .filter(({ token }) => isListMember(token))
        const { rest } = listSteps(lists, tokens)
        const kargs = rest.map((token) => `"${token}"`).join(', ')
        const ids = tokens.filter((token) => !rest.includes(token))
        return [
          'In the Containerfile of the image that this machine runs:',
          ...(ids.length > 0
            ? [`    make ${lists.at(-1)?.token} say ${ids.reduce(addArgument, lists.at(-1)?.token ?? '')}`]
            : []),
          ...(rest.length > 0
            ? [
                `    RUN mkdir -p /usr/lib/bootc/kargs.d && echo 'kargs = [${kargs}]' > /usr/lib/bootc/kargs.d/10-vfio.toml`,
              ]
            : []),
          'Build and push the image, then here: bootc upgrade, and reboot.',
        ]
      },
    }
  },
}
