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
  /** Its block devices. */
  disks: readonly Storage[]
  /** Its files. */
  images: readonly DiskImage[]
  /** Is this the machine itself? Another's capture need not hold its disks and images. */
  running: boolean
}

/** A check of gen-domain, and the facts that it needs. */
type GuestCheck<Needs extends keyof GuestCheckFacts> = Check<Pick<GuestCheckFacts, Needs>>

/** What VFIO refuses or what failed is a problem; a reset that is known to be bad is said, and tried all the same. */
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

/** Warnings of cards that are known to be bad at it, and no problem. */
export function resetWarnings(cards: readonly CardReset[]): string[] {
  return cards
    .filter((card) => !hasResetProblem(card) && (card.verdict === 'none' || card.verdict === 'quirk'))
    .map(({ card, verdict, reason }) => `${card}: reset ${verdict}: ${reason}`)
}

/** Two that write to one disk destroy what is on it. */
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
      next: 'look at the name; a new image is made with qemu-img create -f qcow2 FILE 100G',
      evidence: running ? absent : [],
      unreadable: running ? [] : absent.map((what) => ({ what, root: false })),
    })
  },
}
