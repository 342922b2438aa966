import type { CommandChange } from '../../lib/change/plan.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import type { BootloaderAdapter, Host } from '../../lib/system/system.ts'
import { findPath, generatorCommand, listFolder, rawText } from '../boot/boot-files.ts'
import { compareVersions } from '../boot/entry-order.ts'
import { GRUB_DEFAULTS } from '../boot/grub-defaults.ts'
import { CMDLINE_FILE, cmdlineSettings } from '../boot/kernel-cmdline.ts'
import { grubEvidence, loaderEvidence, SYSTEMD_BOOT_MENU } from '../boot/loader-variables.ts'
import { toMenuEntry } from '../boot/menu-entries.ts'
import { grub } from './grub.ts'

const UUIDS = '/etc/kernel/proxmox-boot-uuids'
/** Where the tool mounts ESPs while it works. */
const MOUNTED = '/var/tmp/espmounts'
const DOCUMENTATION = 'https://pve.proxmox.com/wiki/Host_Bootloader'
const REFRESH = ['proxmox-boot-tool', 'refresh']

/** The members that both adapters share. */
const REFRESHED = {
  commands: (): CommandChange[] => [
    { ...generatorCommand(REFRESH, [], 'kernels and entries on every ESP'), unseen: true },
  ],
  observe: () => [
    { ok: null, proof: 'the entries are on ESPs that are not mounted: after the boot, see /proc/cmdline' },
  ],
}

/** Proxmox with ESPs that proxmox-boot-tool fills, and systemd-boot: entries are made from /etc/kernel/cmdline. */
export const proxmox: BootloaderAdapter = {
  name: 'proxmox-boot-tool',
  documentation: DOCUMENTATION,
  proven: 'real tool: proxmox-boot-tool, by hand',

  detect(host) {
    if (!hasTool(host, CMDLINE_FILE)) return undefined
    const files = (): string | undefined => {
      if (host.running && !host.machine.exists('/sys/firmware/efi')) return undefined
      return evidenceOf(host, 'loader/loader.conf', 'grub', CMDLINE_FILE)
    }
    return loaderEvidence(host, /^systemd-boot/, files, `, and ${UUIDS}`)
  },

  open: (host) => ({
    ...REFRESHED,
    // proxmox-boot-tool reads only the first line.
    configured: () => argumentsInFile(CMDLINE_FILE, firstLine(host), 'file'),

    settings: (tokens) => cmdlineSettings(host, [], tokens),
    entries: () => refreshedEntries(host, firstLine(host)),
    menu: () => SYSTEMD_BOOT_MENU,
    steps: (tokens) => [`Add to the first line of ${CMDLINE_FILE}: ${tokens.join(' ')}`, REFRESH.join(' ')],
  }),
}

/** The same with GRUB as the loader: each ESP gets its own menu from /etc/default/grub. */
export const proxmoxGrub: BootloaderAdapter = {
  name: 'proxmox-boot-tool-grub',
  documentation: DOCUMENTATION,
  proven: "real tool: proxmox-boot-tool, by hand; GRUB's part as for grub",

  detect(host) {
    if (!hasTool(host, GRUB_DEFAULTS)) return undefined
    const loader = grubEvidence(host)
    if (loader === null) return undefined
    if (loader === undefined) {
      const why = evidenceOf(host, 'grub', 'loader/loader.conf', GRUB_DEFAULTS)
      return why === undefined ? undefined : { kind: 'configured', why }
    }
    return { kind: 'booted', why: `${loader}, and ${UUIDS}` }
  },

  open(host) {
    const base = grub.open(host)
    const entries = (): MenuEntry[] =>
      refreshedEntries(
        host,
        base
          .configured()
          .map(({ token }) => token)
          .join(' '),
      )
    return {
      ...base,
      ...REFRESHED,
      entries,
      steps: (tokens) => [...base.steps(tokens).slice(0, -1), REFRESH.join(' ')],
    }
  },
}

const firstLine = ({ files }: Host): string => (rawText(files, CMDLINE_FILE) ?? '').replace(/\n.*/s, '\n')

/**
 * Returns the entries that a refresh makes on the ESPs, from the kernels and images in /boot; those of now cannot be seen.
 * A pinned kernel boots, else the newest. Source: proxmox-boot/zz-proxmox-boot of pve-kernel-helper.
 */
function refreshedEntries(host: Host, line: string): MenuEntry[] {
  const { files, kernels } = host
  const newest = [...kernels].sort((one, other) => compareVersions(other.release, one.release))
  const pins = ['next-boot-pin', 'proxmox-boot-pin'].map((name) => rawText(files, `/etc/kernel/${name}`)?.trim())
  const pinned = pins.flatMap((pin) => newest.find(({ release }) => release === pin) ?? [])
  const first = pinned[0] ?? newest[0]
  return newest.map((kernel) => {
    const { release } = kernel
    const row = { title: `Proxmox (${release})`, file: UUIDS, line: line.trim(), recovery: false }
    const images = [`/boot/initrd.img-${release}`]
    return toMenuEntry(host, { ...row, kernel: `/boot/vmlinuz-${release}`, images, isDefault: kernel === first })
  })
}

/**
 * Returns the evidence of files for a loader: what an ESP that is mounted holds of it, else the file that its line is
 * in; `undefined` where ESPs hold another loader. Source: proxmox-boot-tool, status.
 */
function evidenceOf({ files }: Host, held: string, others: string, file: string): string | undefined {
  const mounted = listFolder(files, MOUNTED).map((name) => `${MOUNTED}/${name}`)
  const places = ['/efi', '/boot/efi', ...mounted]
  const found = (name: string): string | undefined =>
    places.map((place) => `${place}/${name}`).find((path) => findPath(files, path) !== undefined)
  const own = found(held)
  if (own === undefined) return found(others) === undefined ? `${UUIDS} and ${file}` : undefined
  return `${UUIDS} and ${own}`
}

/** Is the tool there, with ESPs to fill, and this file? */
function hasTool({ files }: Host, path: string): boolean {
  return findProgram(files, 'proxmox-boot-tool') !== undefined && files.exists(UUIDS) && files.exists(path)
}
