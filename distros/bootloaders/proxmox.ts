import type { CommandChange } from '../../lib/change/plan.ts'
import { argumentsIn } from '../../lib/edit/command-line.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import type { Bootloader, Host, Observation } from '../../lib/system/system.ts'
import { grub } from './grub.ts'
import { CMDLINE, kernelCmdline } from './kernel-cmdline.ts'
import { bootedLine, loaderInfo } from './loader-evidence.ts'
import { systemdBoot } from './systemd-boot.ts'

const UUIDS = '/etc/kernel/proxmox-boot-uuids'
const DOCUMENTATION = 'https://pve.proxmox.com/wiki/Host_Bootloader'

/** Proxmox with ESPs that proxmox-boot-tool fills, started by systemd-boot: entries are made of /etc/kernel/cmdline. */
export const proxmox: Bootloader = {
  name: 'proxmox-boot-tool',
  documentation: DOCUMENTATION,

  evidence(host) {
    const found = toolOf(host)
    if (found === undefined || !host.files.exists(CMDLINE)) return undefined
    const loader = loaderInfo(host)
    if (!host.running || (loader === undefined && host.machine.exists('/sys/firmware/efi')))
      return { kind: 'configured', why: `${found} and ${CMDLINE}` }
    if (loader === undefined || !/^systemd-boot/.test(loader)) return undefined
    return { kind: 'booted', why: `${loader} booted this, and ${found}` }
  },

  configured({ files }) {
    const text = files.optionalBytes(CMDLINE)?.toString('latin1')
    // It takes the first line.
    return text === undefined ? [] : argumentsIn(CMDLINE, text.replace(/\n.*/s, '\n'), 'file')
  },

  settings(host, tokens) {
    const place = kernelCmdline(host, [])
    return tokens.map(({ token, reason }) => ({ kind: 'cmdline', layout: 'file', ...place, token, reason }))
  },

  commands: () => refresh(),
  observe: () => unseen(),
  menu: (host) => systemdBoot.menu(host),
  steps: (tokens) => [`Add to the first line of ${CMDLINE}: ${tokens.join(' ')}`, 'proxmox-boot-tool refresh'],
}

/** The same, started by GRUB: each ESP gets a menu of its own from /etc/default/grub. */
export const proxmoxGrub: Bootloader = {
  ...grub,
  name: 'proxmox-boot-tool-grub',
  documentation: DOCUMENTATION,

  evidence(host) {
    const found = toolOf(host)
    if (found === undefined || !host.files.exists('/etc/default/grub')) return undefined
    if (!host.running) return { kind: 'configured', why: `${found} and /etc/default/grub` }
    const loader = loaderInfo(host)
    if (loader !== undefined && !/grub/i.test(loader)) return undefined
    const booted = loader !== undefined || /(^|\s)BOOT_IMAGE=/.test(bootedLine(host) ?? '')
    return { kind: booted ? 'booted' : 'configured', why: `${loader ?? 'BOOT_IMAGE= in /proc/cmdline'}, and ${found}` }
  },

  commands: () => refresh(),
  observe: () => unseen(),
  steps: (tokens, host) => [...grub.steps(tokens, host).slice(0, -1), 'proxmox-boot-tool refresh'],
}

function toolOf(host: Host): string | undefined {
  return findProgram(host.files, 'proxmox-boot-tool') !== undefined && host.files.exists(UUIDS) ? UUIDS : undefined
}

function refresh(): CommandChange[] {
  const argv = ['proxmox-boot-tool', 'refresh']
  return [{ kind: 'command', argv, inverse: argv, touches: [], reason: 'kernels and entries on every ESP' }]
}

function unseen(): Observation[] {
  return [{ ok: null, evidence: 'the entries are on ESPs that are not mounted: after the boot, see /proc/cmdline' }]
}
