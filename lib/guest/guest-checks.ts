import { type CardReset, hasResetProblem } from '../bind/reset.ts'
import { toFinding } from '../checks/conclude.ts'
import { guardCards, guardFindings } from '../checks/guards.ts'
import { volumeUsage } from '../checks/in-use.ts'
import type { Finding } from '../core/finding.ts'
import type { Storage } from '../host/block.ts'
import type { DiskImage } from '../host/disk-images.ts'
import type { IommuGroup } from '../host/iommu.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import type { DeviceUsage } from '../host/usage.ts'

/** What still matters of a device that is bound for guests already: the rest was asked when it was bound. */
const CODES_WHEN_BOUND = new Set(['bridge', 'half-group', 'partial-card', 'no-answer', 'reserved-region'])

/**
 * The devices with what shares their groups and is set aside for guests already: VFIO asks no more of a group than
 * that nobody else drives it.
 */
export function withFreeGroupMates(all: readonly PciDevice[], requested: readonly PciDevice[]): PciDevice[] {
  const groups = new Set(requested.map(({ group }) => group))
  groups.delete(null)
  return all.filter(
    (device) =>
      requested.includes(device) ||
      (!device.bridge && groups.has(device.group) && (device.driver === null || isVfio(device.driver))),
  )
}

/** bind-vfio's guards for the devices of a guest; `use` is what `readUse` said of `taken`. */
export function checkDevices(
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
  requested: readonly PciDevice[],
  usage: DeviceUsage,
  groups: readonly IommuGroup[],
  judge: Parameters<typeof guardFindings>[5],
): Finding[] {
  const bound = requested.every(({ driver }) => isVfio(driver))
  return guardFindings(all, selected, requested, usage, groups, judge)
    .map((finding) => (finding.code === 'partial-card' ? guardCards(all, requested) : finding))
    .filter(({ code }) => !bound || CODES_WHEN_BOUND.has(code))
}

/** What VFIO refuses or what failed is a problem; a reset that is known to be bad is said, and tried all the same. */
export function checkResets(cards: readonly CardReset[]): { finding: Finding; warnings: string[] } {
  const finding = toFinding({
    code: 'reset',
    forceable: true,
    problem: 'The card would not be reset for its guests',
    ok: 'No card is known that would not be reset',
    next: 'check-reset says more of each function',
    evidence: cards.filter(hasResetProblem).map(({ card, reason }) => `${card}: ${reason}`),
  })
  const warnings = cards
    .filter((card) => !hasResetProblem(card) && (card.verdict === 'none' || card.verdict === 'quirk'))
    .map(({ card, verdict, reason }) => `${card}: reset ${verdict}: ${reason}`)
  return { finding, warnings }
}

/** Two that write to one disk destroy what is on it. */
export function checkDisks(disks: readonly Storage[]): Finding {
  return toFinding({
    code: 'disk-in-use',
    forceable: true,
    problem: 'The host uses this disk',
    ok: 'The host uses none of the disks',
    next: 'choose another disk, or take this one out of use first (umount, swapoff, fstab)',
    evidence: [
      ...new Set(
        disks.flatMap((each) =>
          each.disks.flatMap(({ address, volume }) => volumeUsage(volume, `${address} → ${volume.node}`)),
        ),
      ),
    ],
    unreadable: disks.flatMap(({ unseen: unreadable }) => unreadable),
  })
}

/** `running`: is this the machine itself? Another's capture need not hold its disks and images. */
export function checkImages(images: readonly DiskImage[], running: boolean): Finding {
  const absent = images.filter(({ kind }) => kind === 'absent').map(({ path }) => path)
  return toFinding({
    code: 'no-such-file',
    forceable: true,
    problem: 'A file or disk is not there',
    ok: 'All files and disks are there',
    next: 'look at the name; a new image is made with qemu-img create -f qcow2 FILE 100G',
    evidence: running ? absent : [],
    unreadable: running ? [] : absent.map((what) => ({ what, root: false })),
  })
}
