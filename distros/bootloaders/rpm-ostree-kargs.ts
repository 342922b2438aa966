import { argumentsInFile } from '../../lib/edit/command-line.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { keptBy } from '../boot/argument-settings.ts'
import { rawText, readOnce } from '../boot/boot-files.ts'
import { bootcBuild } from '../boot/bootc-build.ts'
import { type LineDifference, lineCommands } from '../boot/line-difference.ts'
import { entryArguments, observeEntries, observeLines, ostreeEntries } from '../boot/loader-entries.ts'
import { deploymentEvidence } from '../boot/loader-variables.ts'
import { ostreeMenu } from '../boot/systemd-boot-menu.ts'
import { grub } from './grub.ts'

const STAGED = '/run/ostree/staged-deployment'

/** rpm-ostree of Fedora Atomic desktops, CoreOS, Bazzite: each change is a new deployment; the former entry stays. */
export const rpmOstreeKargs: BootloaderAdapter = {
  name: 'rpm-ostree',
  documentation: 'https://coreos.github.io/rpm-ostree/man/rpm-ostree/',
  proven: 'documentation: rpm-ostree(1), and its code, read',

  detect: (host) => deploymentEvidence(host, 'rpm-ostree'),

  open(host) {
    const entry = readOnce(host, () => ostreeEntries(host.files).slice(0, 1))
    const staged = readOnce(host, () => readStagedLine(host))
    return {
      configured() {
        const line = staged()
        return line === undefined ? entryArguments(entry()) : argumentsInFile(STAGED, line, 'file')
      },

      build: bootcBuild,
      settings: (tokens) => tokens.map((one) => keptBy('rpm-ostree', one)),

      commands: (external) =>
        lineCommands(staged() ?? entry()[0]?.line ?? '', external, kargsCommand, {
          touches: [],
          reason: 'a deployment with these arguments',
        }),

      observe(tokens, absent) {
        const line = staged()
        if (line === undefined) return observeEntries(entry(), tokens, absent)
        const { ok, proof } = observeLines('/run/ostree', [{ name: 'staged-deployment', line }], tokens, absent)
        return [{ ok, proof: `${proof} (staged, for the next boot)` }]
      },

      entries() {
        const line = staged()
        const all = ostreeMenu(host, ostreeEntries(host.files))
        if (line === undefined) return all
        const next = { title: 'the staged deployment', file: STAGED, release: null, kernel: null, images: [] }
        const former = all.map((one): MenuEntry => ({ ...one, isDefault: false }))
        return [{ ...next, line, recovery: false, isDefault: true }, ...former]
      },

      menu: () => `${grub.open(host).menu()}; or choose the former deployment there`,
      steps: (tokens) => [`rpm-ostree kargs ${tokens.map((token) => `--append-if-missing=${token}`).join(' ')}`],
    }
  },
}

function kargsCommand({ added, removed, replaced }: LineDifference): string[] {
  return [
    'rpm-ostree',
    'kargs',
    ...removed.map((token) => `--delete-if-present=${token}`),
    ...replaced.map(({ from, to }) => `--replace=${from}=${to.replace(/^[^=]*=/, '')}`),
    ...added.map((token) => `--append-if-missing=${token}`),
  ]
}

/**
 * Reads the command line of a deployment made in this boot, whose entry is only written when the machine shuts down:
 * from a GVariant dictionary, whose member `kargs` is an array of strings. Source: ostree-sysroot-deploy.c.
 */
function readStagedLine({ machine, running }: Host): string | undefined {
  const bytes = running ? rawText(machine, STAGED) : undefined
  const strings = /(?:^|\0)kargs\0+((?:[ -~]+\0)+)/.exec(bytes ?? '')?.[1]
  return strings?.split('\0').filter(Boolean).join(' ')
}
