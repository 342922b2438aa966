import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Bootloader } from '../../lib/system/system.ts'
import { observeEntries, readEntries } from '../boot/loader-entries.ts'
import { readLoaderInfo } from '../boot/loader-variables.ts'
import { CMDLINE_FILE, kernelCmdline } from './kernel-cmdline.ts'
import { systemdBoot } from './systemd-boot.ts'

/**
 * openSUSE's own way with systemd-boot, or with a GRUB that reads such entries: those of the present snapshot are made
 * from /etc/kernel/cmdline, and what a TPM expects of them is computed anew. Entries of older snapshots stay as they are.
 */
export const sdbootutil: Bootloader = {
  name: 'sdbootutil',
  documentation: 'https://github.com/openSUSE/sdbootutil',

  detect(host) {
    const program = findProgram(host.files, 'sdbootutil')
    const [entry] = readEntries(host.files)
    if (program === undefined || entry === undefined) return undefined
    const loader = readLoaderInfo(host)
    if (loader === undefined) return { kind: 'configured', why: `${program} and ${entry.path}` }
    if (!/^systemd-boot|grub/i.test(loader)) return undefined
    return { kind: 'booted', why: `${loader} booted this, and ${program} keeps its entries` }
  },

  configured({ files }) {
    const text = files.optionalBytes(CMDLINE_FILE)?.toString('latin1')
    return text === undefined ? [] : argumentsInFile(CMDLINE_FILE, text, 'file')
  },

  settings(host, tokens) {
    const lines = readEntries(host.files).map(({ line }) => line)
    const place = kernelCmdline(host, lines)
    return tokens.map(({ token, reason }) => ({ kind: 'command-line', layout: 'file', ...place, token, reason }))
  },

  commands({ files }) {
    const argv = ['sdbootutil', 'update-all-entries']
    const touches = readEntries(files).map(({ path }) => path)
    return [{ kind: 'command', argv, inverse: argv, touches, reason: 'the boot entries of this snapshot' }]
  },

  // Which entries are those of the present snapshot is not told apart here.
  observe({ files }, tokens, absent) {
    const seen = observeEntries(readEntries(files), tokens, absent)
    return seen.map(({ ok, proof }) => ({ ok: ok === false ? null : ok, proof }))
  },

  menu: (host) => systemdBoot.menu(host),

  steps: (tokens) => [`Add to the line in ${CMDLINE_FILE}: ${tokens.join(' ')}`, 'sdbootutil update-all-entries'],
}
