import { evidenceResult } from '../core/finding.ts'
import type { Holder } from '../hand-over/holders.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import type { Check } from './check.ts'
import type { GuardFacts } from './check-facts.ts'

// Guards against handing a card over to a guest and back while the host runs.

/** The facts that speak against it, beside those of other guards. */
export interface HandOverGuardFacts extends GuardFacts {
  holders: readonly Holder[]
  /** Has a guest the devices now, by a hand-over of this toolkit? */
  away: boolean
}

type HandOverGuard<Needs extends keyof HandOverGuardFacts> = Check<
  Pick<HandOverGuardFacts, Needs>,
  ReturnType<typeof evidenceResult>
>

/**
 * Has the host a driver that takes the devices back? vfio-pci from the boot on leaves nothing to hand over, and the
 * picture of the firmware never comes back once it is gone.
 */
const hostDriverGuard: HandOverGuard<'selected' | 'away'> = {
  code: 'no-host-driver',
  forceable: false,
  askedBy: ['hand-over'],
  run: ({ selected, away }) =>
    evidenceResult({
      problem: 'The host has no driver on it that takes it back',
      ok: 'The host has drivers that take it back',
      next: 'hand-over is for a card that the host uses between guests: take its binding back (bind-vfio --undo) or load its driver, reboot, look again; a card for guests alone needs no hand-over',
      evidence: away ? [] : selected.flatMap((device) => whyNoDriver(device)),
    }),
}

function whyNoDriver(device: PciDevice): string[] {
  const { address, driver } = device
  if (isVfio(driver)) return [`${address} is on ${driver} already`]
  return driver === null && isDisplay(device)
    ? [`${address} has no driver: what it shows is the picture of the firmware, which does not come back`]
    : []
}

/** Is there an IOMMU that keeps the devices apart? */
const groupGuard: HandOverGuard<'selected'> = {
  code: 'no-group',
  forceable: false,
  askedBy: ['hand-over'],
  run: ({ selected }) =>
    evidenceResult({
      problem: 'It has no IOMMU group: the IOMMU is off',
      ok: 'It has an IOMMU group',
      next: 'check-host says how to switch the IOMMU on',
      evidence: selected.flatMap(({ address, group }) => (group === null ? [address] : [])),
    }),
}

/** NVIDIA's driver hangs in the kernel when one of its cards is taken away while another stays. */
const sameDriverGuard: HandOverGuard<'pci' | 'selected'> = {
  code: 'same-driver',
  forceable: false,
  askedBy: ['hand-over'],
  run({ pci: { devices }, selected }) {
    const taken = selected.filter(({ driver }) => driver === 'nvidia')
    const staying = devices.filter((one) => one.driver === 'nvidia' && !selected.includes(one))
    return evidenceResult({
      problem: "NVIDIA's driver has another card too, and hangs when one of two is taken away",
      ok: 'No other card has a driver that hangs',
      next: 'bind the card for guests from the boot on instead (bind-vfio), or hand both over',
      evidence: taken.length === 0 ? [] : staying.map(({ address }) => `${address} stays on nvidia`),
    })
  },
}

/** Has something the card that can be ended, but not started again: a container, a program of no unit, a guest? */
const otherHolderGuard: HandOverGuard<'holders' | 'usage'> = {
  code: 'other-holder',
  forceable: true,
  askedBy: ['hand-over'],
  run: ({ holders, usage: { open } }) =>
    evidenceResult({
      problem: 'Something has it open that cannot be stopped and started again',
      ok: 'What has it open can be stopped and started again',
      next: 'end it first; --force other-holder if it will be gone when the guest starts',
      evidence: holders
        .filter(({ kind }) => kind === 'other' || kind === 'guest')
        .map(({ pid, process, node, unit }) => `${node} is open in ${process}[${pid}]${unit && ` (${unit})`}`),
      unreadable: open.unseen,
    }),
}

/** The guards against handing over alone; those that other scripts share ask `hand-over` too. */
export const HAND_OVER_GUARDS: readonly Check<HandOverGuardFacts>[] = [
  hostDriverGuard,
  groupGuard,
  sameDriverGuard,
  otherHolderGuard,
]
