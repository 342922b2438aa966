import type { SettingOf } from '../../lib/change/settings.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Bootloader, Host } from '../../lib/system/system.ts'
import { type BootEntry, entryArguments, hasBlscfgMenu, observeEntries, readEntries } from '../boot/loader-entries.ts'
import { readLoaderInfo, readStubInfo, UNBIND_ARGUMENTS } from '../boot/loader-variables.ts'
import { CMDLINE_FILE, kernelCmdline } from './kernel-cmdline.ts'

/**
 * systemd-boot with entries in files: these are changed, and what kernel-install makes the entries of kernels to come
 * from. Unified images, and entries that other tools keep (kernelstub, proxmox-boot-tool, sdbootutil) are not its.
 */
export const systemdBoot: Bootloader = {
  name: 'systemd-boot',
  documentation: 'https://www.freedesktop.org/software/systemd/man/latest/systemd-boot.html',

  detect(host) {
    const loader = readLoaderInfo(host)
    if (hasExternalEntries(host) || readStubInfo(host) !== undefined) return undefined
    if (loader !== undefined)
      return /^systemd-boot/.test(loader) ? { kind: 'booted', why: `${loader} booted this` } : undefined
    const [entry] = ownEntries(host)
    if (entry === undefined || hasBlscfgMenu(host)) return undefined
    return { kind: 'configured', why: entry.path }
  },

  configured(host) {
    const text = host.files.optionalBytes(CMDLINE_FILE)?.toString('latin1')
    const next = text === undefined ? [] : argumentsInFile(CMDLINE_FILE, text, 'file')
    return [...entryArguments(ownEntries(host)), ...next.map((one) => ({ ...one, entry: CMDLINE_FILE }))]
  },

  settings(host, tokens) {
    const all = ownEntries(host)
    const normal = all.filter(({ recovery }) => !recovery)
    const made = normal.filter((entry) => isGenerated(host, entry))
    const next =
      host.files.exists(CMDLINE_FILE) || made.length > 0
        ? [
            kernelCmdline(
              host,
              made.map(({ line }) => line),
            ),
          ]
        : []
    return tokens.flatMap(({ token, reason }): SettingOf<'command-line'>[] => [
      ...next.map((place) => ({ kind: 'command-line' as const, layout: 'file' as const, ...place, token, reason })),
      ...normal.map(({ path }) => ({ kind: 'command-line' as const, layout: 'options' as const, path, token, reason })),
    ])
  },

  derived: (host, tokens) =>
    ownEntries(host)
      .filter((entry) => isGenerated(host, entry))
      .flatMap(({ path }) =>
        tokens.map((token) => ({ kind: 'command-line' as const, layout: 'options' as const, path, token, reason: '' })),
      ),

  // Entries are read at each boot as they are.
  commands: () => [],

  observe(host, tokens, absent) {
    const seen = observeEntries(ownEntries(host), tokens, absent)
    // What a person had in an entry stays there.
    return absent ? seen.map((one) => ({ ...one, ok: one.ok || null })) : seen
  },

  menu: () =>
    `hold the space bar while the machine starts, for systemd-boot's menu: press e, append ${UNBIND_ARGUMENTS}, press Enter`,

  steps: (tokens, host) => [
    ...ownEntries(host)
      .filter(({ recovery }) => !recovery)
      .map(({ path }) => `In ${path}, add to the line that starts with options: ${tokens.join(' ')}`),
    `Add the same to ${CMDLINE_FILE}, if your entries are made by kernel-install.`,
  ],
}

function ownEntries({ files }: Host): BootEntry[] {
  return readEntries(files).filter(({ path }) => !/\/ostree-[^/]*\.conf$/.test(path))
}

/** Did kernel-install make it? It calls it `TOKEN-RELEASE.conf`, with `+TRIES` where boots are counted. */
function isGenerated({ files, kernels }: Host, { path, text }: BootEntry): boolean {
  if (/^# Boot Loader Specification type#1 entry/.test(text)) return true
  const name = path.replace(/.*\//, '').replace(/(\+\d+(-\d+)?)?\.conf$/, '')
  const tokens = ['/etc/kernel/entry-token', '/etc/machine-id'].flatMap(
    (from) => files.optionalText(from)?.trim() || [],
  )
  return kernels.some(({ release }) => tokens.some((token) => name === `${token}-${release}`))
}

function hasExternalEntries(host: Host): boolean {
  const files = ['/etc/kernelstub/configuration', '/etc/kernel/proxmox-boot-uuids', '/ostree/deploy']
  return files.some((path) => host.files.exists(path)) || findProgram(host.files, 'sdbootutil') !== undefined
}
