import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { generatorCommand, rawText, readOnce } from '../boot/boot-files.ts'
import { CMDLINE_FILE, cmdlineArguments, cmdlineSettings } from '../boot/kernel-cmdline.ts'
import { observeEntries, readEntries } from '../boot/loader-entries.ts'
import { loaderEvidence, readLoaderInfo, SYSTEMD_BOOT_MENU } from '../boot/loader-variables.ts'
import { systemdBootMenu } from '../boot/systemd-boot-menu.ts'
import { grub } from './grub.ts'

const COMMAND = ['sdbootutil', 'update-all-entries']

/**
 * sdbootutil of openSUSE, for systemd-boot or a GRUB that reads such entries. It makes those of the present snapshot
 * from /etc/kernel/cmdline, and computes anew what a TPM expects of them. Entries of older snapshots stay unchanged.
 */
export const sdbootutil: BootloaderAdapter = {
  name: 'sdbootutil',
  documentation: 'https://github.com/openSUSE/sdbootutil',

  detect(host) {
    const program = findProgram(host.files, 'sdbootutil')
    const [entry] = readEntries(host.files)
    if (program === undefined || entry === undefined) return undefined
    const why = `${program} and ${entry.path}`
    return loaderEvidence(host, /^systemd-boot|grub/i, () => why, `, and ${program} keeps its entries`)
  },

  open(host) {
    const entries = readOnce(host, () => readEntries(host.files))
    const lines = (): string[] => entries().map(({ line }) => line)
    const paths = (): string[] => entries().map(({ path }) => path)
    return {
      configured: () => cmdlineArguments(host),
      settings: (tokens) => cmdlineSettings(host, lines(), tokens),
      commands: () => [generatorCommand(COMMAND, paths(), 'the boot entries of this snapshot')],

      // Entries of the present snapshot are not told from those of older ones here.
      observe: (tokens, absent) =>
        observeEntries(entries(), tokens, absent).map(({ ok, proof }) => ({ ok: ok || null, proof })),

      entries: () => systemdBootMenu(host, entries()),
      imageSteps: () => ['sdbootutil mkinitrd'],
      menu: () => (isGrub(host) ? grub.open(host).menu() : SYSTEMD_BOOT_MENU),
      steps: (tokens) => [`Add to the line in ${CMDLINE_FILE}: ${tokens.join(' ')}`, COMMAND.join(' ')],
    }
  },
}

/** Is the menu GRUB's, which reads the same entries (grub2-bls)? The loader says so, or what the installer wrote. */
function isGrub(host: Host): boolean {
  const loader = readLoaderInfo(host) ?? rawText(host.files, '/etc/sysconfig/bootloader') ?? ''
  return /^(LOADER_TYPE=["']?)?grub/im.test(loader)
}
