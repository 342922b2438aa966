import { type CardReset, hasResetProblem } from '../bind/reset.ts'
import { evidenceResult } from '../core/finding.ts'
import type { Storage } from '../host/block.ts'
import type { DiskImage } from '../host/disk-images.ts'
import type { Check } from './check.ts'
import { volumeUsage } from './in-use.ts'

/** The facts about the rest of a guest. */
export interface GuestCheckFacts {
  /** The verdicts for its cards; `null`: it has no PCI devices. */
  cards: readonly CardReset[] | null
  /** The guest's block devices. */
  disks: readonly Storage[]
  /** The guest's disk images and other files. */
  images: readonly DiskImage[]
  /** Is this the machine itself? Another's capture need not hold its disks and images. */
  running: boolean
}

/** A check of gen-domain, and the facts that it needs. */
type GuestCheck<Needs extends keyof GuestCheckFacts> = Check<Pick<GuestCheckFacts, Needs>>

/** Would VFIO refuse a card, or did a reset fail? One that is only known to be bad gets a warning: `resetWarnings`. */
export const guestResetCheck: GuestCheck<'cards'> = {
  code: 'reset',
  forceable: true,
  askedBy: ['guest'],
  run({ cards }) {
    if (cards === null) return []
    return evidenceResult({
      problem: 'The card would not be reset for its guests',
      ok: 'No card is known that would not be reset',
      next: 'check-reset says more of each function',
      evidence: cards.filter(hasResetProblem).map(({ card, reason }) => `${card}: ${reason}`),
    })
  },
}

/** Returns a warning for each card whose reset is known to be bad, but is no problem. */
export function resetWarnings(cards: readonly CardReset[]): string[] {
  return cards
    .filter((card) => !hasResetProblem(card) && (card.verdict === 'none' || card.verdict === 'quirk'))
    .map(({ card, verdict, reason }) => `${card}: reset ${verdict}: ${reason}`)
}

/** Does the host use a disk of the guest? Two systems that write to one disk destroy its contents. */
export const diskInUseCheck: GuestCheck<'disks'> = {
  code: 'disk-in-use',
  forceable: true,
  askedBy: ['guest'],
  run: ({ disks }) =>
    evidenceResult({
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
      unreadable: disks.flatMap(({ unseen }) => unseen),
    }),
}

export const noSuchFileCheck: GuestCheck<'images' | 'running'> = {
  code: 'no-such-file',
  forceable: true,
  askedBy: ['guest'],
  run({ images, running }) {
    const absent = images.filter(({ kind }) => kind === 'absent').map(({ path }) => path)
    return evidenceResult({
      problem: 'A file or disk is not there',
      ok: 'All files and disks are there',
      unknown: 'It is not known whether the files and disks of the guest are there',
      next: `look at the name; a new image is made with qemu-img create -f qcow2 ${absent[0] ?? 'FILE'} 100G`,
      evidence: running ? absent : [],
      unreadable: running ? [] : absent.map((what) => ({ what, root: false })),
    })
  },
}
