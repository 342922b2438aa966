import coerce from 'semver/functions/coerce.js'
import lt from 'semver/functions/lt.js'
import { evidenceResult } from '../core/finding.ts'
import { POWER_OFF } from '../host/kernel-messages.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import type { Region, ReservedRegions } from '../host/reserved.ts'
import type { Guard } from './check-facts.ts'

/** Does a device not answer? It can be bound, but QEMU then stops at its header type, which is none (127). */
export const noAnswerGuard: Guard<'usage'> = {
  code: 'no-answer',
  forceable: true,
  askedBy: ['taking', 'bound', 'hand-over'],
  run({ usage: { answers } }) {
    return evidenceResult({
      problem: 'A device does not answer',
      unknown: 'It is not known whether the devices answer',
      ok: 'The devices answer',
      next: `${POWER_OFF}; then look again`,
      evidence: answers.silent.map((address) => `${address}: its configuration space reads ff`),
      unreadable: answers.unread.map((address) => ({ what: `configuration space of ${address}`, root: false })),
    })
  },
}

/** Does the kernel keep a device from user space for a reserved region? Binding works then, but no guest starts. */
export const reservedRegionGuard: Guard<'usage' | 'selected'> = {
  code: 'reserved-region',
  forceable: true,
  askedBy: ['taking', 'bound', 'hand-over'],
  run({ usage: { reserved }, selected }) {
    return evidenceResult({
      problem: 'The firmware wants memory mapped directly for it, and no guest can start with it',
      ok: 'The firmware wants no direct mapping for it',
      next: reservedAdvice(reserved),
      evidence: reserved.direct
        .filter((region) => blocksUserSpace(reserved, region, selected))
        .map(({ group, start, end }) => `group ${group}: ${start} to ${end} is mapped directly (direct)`),
      unreadable: reserved.unseen,
    })
  },
}

/**
 * Does the kernel keep the device from user space? Since Linux 6.6 it does for every `direct` region (iommu.c,
 * require_direct). Before, only VT-d did, and not for displays and USB (device_rmrr_is_relaxable, whose regions are
 * `direct-relaxable` since 5.3).
 */
function blocksUserSpace(
  { kernel, kind }: ReservedRegions,
  { group }: Region,
  selected: readonly PciDevice[],
): boolean {
  const version = coerce(kernel)
  if (version === null || !lt(version, '6.6.0')) return true
  if (kind !== 'intel') return false
  if (!lt(version, '5.3.0')) return true
  return selected.some((device) => device.group === group && !isDisplay(device) && !device.class.id.startsWith('0c03'))
}

function reservedAdvice({ kind, maker }: ReservedRegions): string {
  const update = 'update the firmware'
  if (kind === 'amd')
    return `switch "Kernel DMA Protection" (also: pre-boot DMA protection) off in the firmware setup, which is reported to help on AM5 boards, or ${update} (IVMD)`
  if (/^(HPE?|Hewlett[- ]Packard)\b/i.test(maker ?? ''))
    return `HPE: take the slot out of RMRR with conrep of its Scripting Toolkit, or switch HPE Shared Memory off for the card in the firmware setup`
  return `${update} of the board and the card, or ask their makers how RMRR is switched off for it; another card or slot may have none`
}
