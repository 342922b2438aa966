import type { CommandChange } from '../../lib/change/plan.ts'
import { argumentsInFile } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Bootloader, Host, Observation } from '../../lib/system/system.ts'
import { readBootedLine, readLoaderInfo } from '../boot/loader-variables.ts'
import { grub } from './grub.ts'
import { CMDLINE_FILE, kernelCmdline } from './kernel-cmdline.ts'
import { systemdBoot } from './systemd-boot.ts'

const UUIDS = '/etc/kernel/proxmox-boot-uuids'
const DOCUMENTATION = 'https://pve.proxmox.com/wiki/Host_Bootloader'

/** Proxmox with ESPs that proxmox-boot-tool fills, started by systemd-boot: entries are made of /etc/kernel/cmdline. */
export const proxmox: Bootloader = {
  name: 'proxmox-boot-tool',
  documentation: DOCUMENTATION,

  detect(host) {
    const found = toolOf(host)
    if (found === undefined || !host.files.exists(CMDLINE_FILE)) return undefined
    const loader = readLoaderInfo(host)
    if (!host.running || (loader === undefined && host.machine.exists('/sys/firmware/efi')))
      return { kind: 'configured', why: `${found} and ${CMDLINE_FILE}` }
    if (loader === undefined || !/^systemd-boot/.test(loader)) return undefined
    return { kind: 'booted', why: `${loader} booted this, and ${found}` }
  },

  configured({ files }) {
    const text = files.optionalBytes(CMDLINE_FILE)?.toString('latin1')
    // It takes the first line.
    return text === undefined ? [] : argumentsInFile(CMDLINE_FILE, text.replace(/\n.*/s, '\n'), 'file')
  },

  settings(host, tokens) {
    const place = kernelCmdline(host, [])
    return tokens.map(({ token, reason }) => ({ kind: 'command-line', layout: 'file', ...place, token, reason }))
  },

  commands: () => refreshCommands(),
  observe: () => espsNotMounted(),
  menu: (host) => systemdBoot.menu(host),
  steps: (tokens) => [`Add to the first line of ${CMDLINE_FILE}: ${tokens.join(' ')}`, 'proxmox-boot-tool refresh'],
}

/** The same, started by GRUB: each ESP gets a menu of its own from /etc/default/grub. */
export const proxmoxGrub: Bootloader = {
  ...grub,
  name: 'proxmox-boot-tool-grub',
  documentation: DOCUMENTATION,

  detect(host) {
    const found = toolOf(host)
    if (found === undefined || !host.files.exists('/etc/default/grub')) return undefined
    if (!host.running) return { kind: 'configured', why: `${found} and /etc/default/grub` }
    const loader = readLoaderInfo(host)
    if (loader !== undefined && !/grub/i.test(loader)) return undefined
    const booted = loader !== undefined || /(^|\s)BOOT_IMAGE=/.test(readBootedLine(host) ?? '')
    return { kind: booted ? 'booted' : 'configured', why: `${loader ?? 'BOOT_IMAGE= in /proc/cmdline'}, and ${found}` }
  },

  commands: () => refreshCommands(),
  observe: () => espsNotMounted(),
  steps: (tokens, host) => [...grub.steps(tokens, host).slice(0, -1), 'proxmox-boot-tool refresh'],
}

function toolOf(host: Host): string | undefined {
  return findProgram(host.files, 'proxmox-boot-tool') !== undefined && host.files.exists(UUIDS) ? UUIDS : undefined
}

function refreshCommands(): CommandChange[] {
  const argv = ['proxmox-boot-tool', 'refresh']
  return [{ kind: 'command', argv, inverse: argv, touches: [], reason: 'kernels and entries on every ESP' }]
}

function espsNotMounted(): Observation[] {
  return [{ ok: null, proof: 'the entries are on ESPs that are not mounted: after the boot, see /proc/cmdline' }]
}
