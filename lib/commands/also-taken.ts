import type { BindFacts } from '../bind/bind-facts.ts'
import { boundFunctions } from '../bind/claimed-requirements.ts'
import { claimsOf } from '../change/journal.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { onlyGpuGuard } from '../checks/guards.ts'
import { GUARDS } from '../checks/registry.ts'
import type { Finding } from '../core/finding.ts'
import type { PciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { readDeviceUsage } from '../host/usage.ts'
import type { Prediction } from '../predict/predict.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'

/** What the next boot does to devices that nobody named. */
export interface AlsoTaken {
  /** What speaks against it: problems only. */
  findings: Finding[]
  /** Sentences that name each such device, and the line that takes it. */
  notes: string[]
}

/**
 * Finds the devices that a predicted boot gives to vfio-pci or pci-stub, though nobody named them, and asks whether the
 * host can spare them. Those that an earlier run of ours bound were asked about then; of the GPUs, one has to be left.
 */
export function findAlsoTaken(
  { host, journal }: BindFacts,
  pci: PciFacts,
  selected: readonly PciDevice[],
  boots: readonly PredictedBoot[],
): AlsoTaken {
  const taken = new Map<PciDevice, Prediction>()
  for (const { devices } of boots)
    for (const [index, prediction] of (devices ?? []).entries()) {
      const device = pci.devices[index]
      if (device !== undefined && !isVfio(device.driver) && goesToGuests(prediction)) taken.set(device, prediction)
    }
  const claimed = new Set(boundFunctions(claimsOf(journal)).map(({ address }) => address))
  const others = [...taken.keys()].filter((device) => !isWithin(device, selected) && !claimed.has(device.address))
  const readers = [host.machine, host.files]
  const all = [...new Set([...selected, ...taken.keys()])]
  // Of the selected ones alone it was asked before.
  const findings = all.length > selected.length ? runChecks([onlyGpuGuard], { pci, selected: all }, readers, true) : []
  if (others.length > 0) {
    const usage = readDeviceUsage(host.machine, host.files, others)
    const facts = { pci, requested: others, selected: others, given: others, usage }
    const guards = checksFor(GUARDS, 'also-taken').filter((guard) => guard !== onlyGpuGuard)
    findings.push(...runChecks(guards, facts, readers, true))
  }
  const causes = others.map((device) => `${device.address} goes to ${causeText(taken.get(device))}`)
  return {
    findings: findings
      .filter(({ state }) => state === 'problem')
      .map((one) => ({ ...one, evidence: [...one.evidence, ...causes] })),
    notes: others.map(
      (device) =>
        `${device.address} (${device.driver ?? 'no driver'} now) was not named, and goes to ${causeText(taken.get(device))}`,
    ),
  }
}

function goesToGuests({ driver, or }: Prediction): boolean {
  return isVfio(driver) || (driver === null && or.some(isVfio))
}

/** Is it one of these, or behind one of them and gone with it? */
function isWithin(device: PciDevice, selected: readonly PciDevice[]): boolean {
  return selected.some((one) => one === device || device.path.startsWith(`${one.path}/`))
}

function causeText(prediction: Prediction | undefined): string {
  const { driver, because, without = [] } = prediction ?? {}
  return `${driver ?? 'vfio-pci, perhaps'}: ${because ?? without.join('; ')}`
}
