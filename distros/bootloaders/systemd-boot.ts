import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { inCommandLine } from '../boot/argument-settings.ts'
import { readEntryTokens, readOnce } from '../boot/boot-files.ts'
import { hasBlscfgMenu } from '../boot/grub-menu.ts'
import { CMDLINE_FILE, cmdlineArguments, kernelCmdline } from '../boot/kernel-cmdline.ts'
import {
  type BootEntry,
  entryArguments,
  isOfOstree,
  normalEntries,
  observeEntries,
  readEntries,
} from '../boot/loader-entries.ts'
import { loaderEvidence, readStubInfo, SYSTEMD_BOOT_MENU } from '../boot/loader-variables.ts'
import { systemdBootMenu } from '../boot/systemd-boot-menu.ts'

/**
 * systemd-boot with entries in files: it changes these, and the file from which kernel-install makes entries of new
 * kernels. Other adapters take unified images, and the entries of kernelstub, proxmox-boot-tool and sdbootutil.
 */
export const systemdBoot: BootloaderAdapter = {
  name: 'systemd-boot',
  documentation: 'https://www.freedesktop.org/software/systemd/man/latest/systemd-boot.html',
  proven: 'booted: Debian 13 in the lab, entries of kernel-install; entries of real machines',

  detect(host) {
    if (hasExternalEntries(host) || readStubInfo(host) !== undefined) return undefined
    return loaderEvidence(host, /^systemd-boot/, () =>
      hasBlscfgMenu(host.files) ? undefined : ownEntries(host)[0]?.path,
    )
  },

  open(host) {
    const entries = readOnce(host, () => ownEntries(host))
    const normal = (): BootEntry[] => entries().filter(({ recovery }) => !recovery)
    return {
      // What kernel-install makes of the next kernel is in force only then.
      isManual: () => entries().length === 0,

      configured: () => [
        ...entryArguments(entries()),
        ...cmdlineArguments(host).map((one) => ({ ...one, entry: CMDLINE_FILE })),
      ],

      settings(tokens) {
        const changed = normalEntries(entries())
        const lines = changed.flatMap((entry) => (isGenerated(host, entry) ? [entry.line] : []))
        const next = host.files.exists(CMDLINE_FILE) || lines.length > 0 ? [kernelCmdline(host, lines)] : []
        return tokens.flatMap((one) => [
          ...next.map((place) => inCommandLine('file', place, one)),
          ...changed.map(({ path }) => inCommandLine('options', { path }, one)),
        ])
      },

      derived: (tokens) =>
        entries()
          .filter((entry) => isGenerated(host, entry))
          .flatMap(({ path }) => tokens.map((token) => inCommandLine('options', { path }, { token, reason: '' }))),

      // The loader reads the entries at each boot.
      commands: () => [],

      observe(tokens, absent) {
        const seen = observeEntries(entries(), tokens, absent)
        // Arguments that a person had in an entry stay there.
        return absent ? seen.map((one) => ({ ...one, ok: one.ok || null })) : seen
      },

      entries: () => systemdBootMenu(host, entries()),

      imageSteps() {
        const made = host.kernels.filter(({ release }) =>
          entries().some((entry) => isGenerated(host, entry) && entry.path.includes(release)),
        )
        return made.map(
          ({ release }) => `kernel-install add ${release} /boot/vmlinuz-${release} /boot/initrd.img-${release}`,
        )
      },

      menu: () => SYSTEMD_BOOT_MENU,

      steps: (tokens) => [
        ...(normal().length > 0 ? normal().map(({ path }) => path) : ['each entry of loader/entries']).map(
          (path) => `In ${path}, add to the line that starts with options: ${tokens.join(' ')}`,
        ),
        `Add the same to ${CMDLINE_FILE}, if your entries are made by kernel-install.`,
      ],
    }
  },
}

function ownEntries({ files }: Host): BootEntry[] {
  return readEntries(files).filter((entry) => !isOfOstree(entry))
}

/** Did kernel-install make this entry? Its name is `TOKEN-RELEASE.conf`, with `+TRIES` where boots are counted. */
function isGenerated({ files, kernels }: Host, { path, text }: BootEntry): boolean {
  if (/^# Boot Loader Specification type#1 entry/.test(text)) return true
  const name = path.replace(/.*\//, '').replace(/(\+\d+(-\d+)?)?\.conf$/, '')
  return kernels.some(({ release }) => readEntryTokens(files).some((token) => name === `${token}-${release}`))
}

function hasExternalEntries({ files }: Host): boolean {
  const theirs = ['/etc/kernelstub/configuration', '/etc/kernel/proxmox-boot-uuids', '/ostree/deploy']
  return theirs.some((path) => files.exists(path)) || findProgram(files, 'sdbootutil') !== undefined
}
