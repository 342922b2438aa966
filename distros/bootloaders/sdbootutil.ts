import { findProgram } from '../../lib/host/find-program.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { generatorCommand, rawText, readOnce } from '../boot/boot-files.ts'
import { type BootEntry, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { loaderEvidence, readLoaderInfo, SYSTEMD_BOOT_MENU } from '../boot/loader-variables.ts'
import { presentSnapshot, sdbootutilEntries, snapshotOf } from '../boot/sdbootutil-entries.ts'
import { blscfgMenu, systemdBootMenu } from '../boot/systemd-boot-menu.ts'
import { fileSource } from '../boot/uki-line.ts'
import { grub } from './grub.ts'

const COMMAND = ['sdbootutil', 'update-all-entries']

/**
 * sdbootutil of openSUSE, for systemd-boot or a GRUB that reads such entries. It makes those of the present snapshot
 * from /etc/kernel/cmdline and the files in cmdline.d (since March 2026), and computes anew what a TPM expects of them.
 * Entries of older snapshots stay unchanged. The images are dracut's, by `sdbootutil mkinitrd`.
 */
export const sdbootutil: BootloaderAdapter = {
  name: 'sdbootutil',
  documentation: 'https://github.com/openSUSE/sdbootutil',
  proven: 'real tool: sdbootutil of August 2026 with dracut, by hand; its snapshots from its own code',

  detect(host) {
    const program = findProgram(host.files, 'sdbootutil')
    const [entry] = readEntries(host.files)
    if (program === undefined || entry === undefined) return undefined
    const why = `${program} and ${entry.path}`
    return loaderEvidence(host, /^systemd-boot|grub/i, () => why, `, and ${program} keeps its entries`)
  },

  open(host) {
    const entries = readOnce(host, () => sdbootutilEntries(host))
    const normal = (): BootEntry[] => entries().filter(({ recovery }) => !recovery)
    const source = readOnce(host, () =>
      fileSource(
        host,
        { tool: 'sdbootutil', named: undefined },
        normal().map(({ line }) => line),
      ),
    )
    const paths = (): string[] => normal().map(({ path }) => path)
    return {
      configured: () => source().currentArguments,
      settings: (tokens) => tokens.map(({ token, reason }) => source().setting(token, reason)),
      commands: () => [generatorCommand(COMMAND, paths(), 'the boot entries of this snapshot')],

      // Where another system runs, entries of its present snapshot are not told from those of older ones.
      observe(tokens, absent) {
        const told = presentSnapshot(host) !== undefined || entries().every((one) => snapshotOf(one) === undefined)
        return observeEntries(entries(), tokens, absent).map(({ ok, proof }) => ({ ok: told ? ok : ok || null, proof }))
      },

      entries: () => (isGrub(host) ? blscfgMenu : systemdBootMenu)(host, entries()),
      imageSteps: () => ['sdbootutil mkinitrd'],
      menu: () => (isGrub(host) ? grub.open(host).menu() : SYSTEMD_BOOT_MENU),
      steps: (tokens) => [`Add to the line in ${source().path}: ${tokens.join(' ')}`, COMMAND.join(' ')],
    }
  },
}

/** Is the menu GRUB's, which reads the same entries (grub2-bls)? The loader says so, or what the installer wrote. */
function isGrub(host: Host): boolean {
  const loader = readLoaderInfo(host) ?? rawText(host.files, '/etc/sysconfig/bootloader') ?? ''
  return /^(LOADER_TYPE=["']?)?grub/im.test(loader)
}
