import { UserError } from '../core/error.ts'
import { decideGuest, type GuestDecision, type GuestFacts } from '../guest/decide.ts'
import { isDeviceGiven } from '../guest/devices/guest-device.ts'
import { GUEST_DEVICES } from '../guest/devices/guest-devices.ts'
import { boardSettings, presetOf } from '../guest/proxmox/board-settings.ts'
import { qmCommand } from '../guest/proxmox/qm-command.ts'
import { parseVmConfig, splitProperties } from '../guest/proxmox/vm-config.ts'
import { isQ35, type VmTarget } from '../guest/proxmox/vm-target.ts'
import type { BoardRequest } from '../guest/request.ts'
import { readProxmox, readProxmoxVm } from '../host/proxmox-node.ts'
import type { Arguments } from '../terminal/options.ts'
import type { Context } from './run-script.ts'

/** The VM that `--vmid` names, as far as it is known before cards are looked for. */
export type NamedVm = Omit<VmTarget, 'requested' | 'devices'>

/** Throws a UserError with code `usage` where options of Proxmox are given for something else. */
export function checkVmUsage(given: Arguments): void {
  const proxmox = given.value('format') === 'proxmox'
  const wrong = ['vmid', 'storage'].find((name) => given.value(name) !== undefined)
  if (!proxmox && wrong !== undefined) throw new UserError('usage', `--${wrong} goes with --format proxmox`)
  if (proxmox && given.value('libvirt') !== undefined)
    throw new UserError('usage', '--libvirt: Proxmox has none; leave it out')
}

/**
 * Reads the VM; `null` without `--format proxmox`. Throws a UserError: `usage` for a wrong ID, `not-proxmox` on another
 * host, `vmid-taken` for an ID of a container or of another node, `vm-locked` while Proxmox works on it.
 */
export function readVm(
  { machine: { files, reader }, arguments: given }: Context,
  { format }: BoardRequest,
): NamedVm | null {
  if (format !== 'proxmox') return null
  const text = given.value('vmid')
  if (text === undefined || !/^[1-9]\d{2,8}$/.test(text))
    throw new UserError('usage', `--vmid ${text ?? 'ID'}: write the number of a VM, from 100`)
  const vmid = Number(text)
  const host = readProxmox(files, reader)
  if (!host.present)
    throw new UserError(
      'not-proxmox',
      '--format proxmox: this is no Proxmox host (no /etc/pve): run it on the node, as root',
    )
  const vm = readProxmoxVm(files, vmid)
  if (vm.kind === 'other')
    throw new UserError(
      'vmid-taken',
      `--vmid ${vmid}: ${vm.file} has this number; choose another, or run this on its node`,
    )
  const present = vm.kind === 'own' ? parseVmConfig(vm.text) : null
  const lock = present?.get('lock')
  if (lock !== undefined)
    throw new UserError('vm-locked', `--vmid ${vmid}: Proxmox works on it (lock: ${lock}); wait, and try again`)
  if (present?.get('template') === '1')
    throw new UserError('usage', `--vmid ${vmid}: is a template, which never runs; clone it, and name the clone`)
  return { vmid, host, present, given, notes: [] }
}

/** Returns the request with what a present VM is, wherever nothing else was asked. Throws a UserError with code `usage`. */
export function requestForVm(request: BoardRequest, { vmid, present, given }: NamedVm): BoardRequest {
  if (present === null) return request
  const preset = given.value('guest') === undefined ? presetOf(present) : request.preset
  if (preset === undefined)
    throw new UserError(
      'usage',
      `--guest NAME: VM ${vmid} has ostype ${present.get('ostype') ?? 'other'}; say what runs in it`,
    )
  const mib = Number(splitProperties(present.get('memory') ?? '512', 'current')[''])
  return {
    ...request,
    preset,
    name: given.value('name') === undefined ? (present.get('name') ?? `vm${vmid}`) : request.name,
    chipset: given.value('chipset') === undefined ? (isQ35(present) ? 'q35' : 'i440fx') : request.chipset,
    firmware: request.firmware ?? (present.get('bios') === 'ovmf' ? 'efi' : 'bios'),
    memoryKib: request.memoryKib ?? mib * 1024,
  }
}

/** Returns the decided guest with the command for it. Throws a UserError with code `usage` for what Proxmox has not. */
export function vmCommand(
  given: Arguments,
  request: BoardRequest,
  facts: GuestFacts,
  target: VmTarget,
): GuestDecision & { text: string } {
  const without = GUEST_DEVICES.find(
    (device) => device.proxmox === undefined && device.options.length > 0 && isDeviceGiven(device, given),
  )
  if (without !== undefined)
    throw new UserError('usage', `--${without.options[0]?.name}: Proxmox has no setting for it; leave it out`)
  const decision = decideGuest(given, request, facts)
  const { guest, reasons, notes } = decision
  const settings = [
    ...boardSettings(guest, target),
    ...GUEST_DEVICES.flatMap((device) => device.proxmox?.(guest, target) ?? []),
  ]
  const text = qmCommand(target, settings)
  const { vmid, present } = target
  const state =
    present === null
      ? []
      : [
          text === ''
            ? `VM ${vmid} has all of it already`
            : `VM ${vmid} has it after it was shut down and started; a reboot inside is not enough`,
        ]
  return { guest, reasons, notes: [...notes, ...target.notes, ...state], text }
}
