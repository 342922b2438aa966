import type { Binding } from '../bind/plan-binding.ts'
import { UserError } from '../core/error.ts'
import type { PciFacts } from '../host/machine.ts'
import { isVfio } from '../host/pci.ts'
import type { BootSystem, ReadImage } from '../predict/entry-boots.ts'
import { BOOTED } from '../predict/entry-boots.ts'
import type { Prediction } from '../predict/predict.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import { predictNow, predictPlan } from './predict-boots.ts'

/**
 * Returns a plan of a binding, and who has each device after a boot with it. Where files say all already but the images
 * or entries that boot do not, the plan makes them again: nobody has run the commands since. Throws a UserError with code
 * `contradiction` where the functions would be on another driver all the same.
 */
export async function predictedBinding(
  planWith: (again: boolean) => Binding,
  system: BootSystem,
  pci: PciFacts,
  readImage: ReadImage,
): Promise<{ binding: Binding; boots: PredictedBoot[] }> {
  const first = planWith(false)
  if (first.plan.changes.length === 0 && first.bound.length > 0) {
    const boots = await predictNow(system, pci, readImage)
    if (failures(boots, first, system).length === 0) return { binding: first, boots }
  }
  const binding = first.plan.changes.length === 0 && first.bound.length > 0 ? planWith(true) : first
  const { changes, settings } = binding.plan
  const change = { changes, settings, regenerated: binding.regenerated, gone: [] }
  const boots = await predictPlan(system, pci, change, readImage)
  expectBound(failures(boots, binding, system))
  return { binding, boots }
}

/** A function that is to be bound, and is not after a boot. */
interface Failure {
  boot: PredictedBoot
  device: Prediction
}

/** Returns the functions that a kernel which has their driver gives to another one for certain. */
function failures(boots: readonly PredictedBoot[], { bound }: Binding, { host }: BootSystem): Failure[] {
  const addresses = new Set(bound.map(({ device }) => device.address))
  const able = boots.filter(({ kernel, recovery, file }) => {
    const found = host.kernels.find(({ release }) => release === kernel)
    // Where no entry could be seen, the line of this boot is a guess.
    return !recovery && file !== BOOTED && found !== undefined && found.provides('vfio-pci') !== 'absent'
  })
  return able.flatMap((boot) =>
    (boot.devices ?? [])
      .filter((one) => addresses.has(one.address) && one.certainty === 'certain' && !isVfio(one.driver))
      .map((device) => ({ boot, device })),
  )
}

function expectBound(failed: readonly Failure[]): void {
  const [first] = failed
  if (first === undefined) return
  const { boot, device } = first
  const lines = failed.flatMap(({ device: { without } }) => without)
  throw new UserError(
    'contradiction',
    `${device.address} would be on ${device.driver ?? 'no driver'} after the boot of ${boot.kernel ?? boot.entry} all the same; correct that first, nothing was written`,
    [...new Set(lines)],
  )
}
