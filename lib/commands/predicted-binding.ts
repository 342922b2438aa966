import type { Binding } from '../bind/plan-binding.ts'
import { UserError } from '../core/error.ts'
import type { PciFacts } from '../host/machine.ts'
import { isStub, isVfio, type PciDevice } from '../host/pci.ts'
import { BOOTED, type BootSystem, type ReadImage } from '../predict/entry-boots.ts'
import type { Prediction } from '../predict/predict.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import { predictNow, predictPlan } from './predict-boots.ts'

/** A plan of a binding, and who has each device after a boot with it. */
export interface PredictedBinding {
  binding: Binding
  boots: PredictedBoot[]
  /** The functions that are left to the person's own settings. */
  left: readonly PciDevice[]
}

/**
 * Plans a binding, and judges it by the boot that it brings about. `left` are functions that settings of the person bind
 * already, as their text goes. Where files say all that is needed but the images or entries that boot do not, the plan
 * takes it in its own hands and makes them again: nobody has run the commands since. Throws a UserError with code
 * `contradiction` where functions would be on another driver all the same.
 */
export async function predictedBinding(
  planWith: (left: readonly PciDevice[], again: boolean) => Binding,
  left: readonly PciDevice[],
  system: BootSystem,
  pci: PciFacts,
  readImage: ReadImage,
): Promise<PredictedBinding> {
  const foresee = async (binding: Binding, watched: readonly PciDevice[]): Promise<PredictedBoot[]> => {
    const { changes, settings } = binding.plan
    // Only a plan that changes nothing depends on what was made of the files.
    if (changes.length === 0 && watched.length > 0) return predictNow(system, pci, readImage)
    const change = { changes, settings, leaving: [], regenerated: binding.regenerated }
    return predictPlan(system, pci, change, readImage)
  }
  const first = planWith(left, false)
  const bound = first.bound.map(({ device }) => device)
  const watched = first.plan.changes.length === 0 ? [...bound, ...left] : left
  const boots = await foresee(first, watched)
  if (failures(boots, watched, first.holder, system).length === 0) {
    expectBound(failures(boots, bound, first.holder, system))
    return { binding: first, boots, left }
  }
  const binding = planWith([], true)
  const devices = binding.bound.map(({ device }) => device)
  const planned = await foresee(binding, devices)
  expectBound(failures(planned, devices, binding.holder, system))
  return { binding, boots: planned, left: [] }
}

/** A function that is to be bound, and is not after a boot. */
interface Failure {
  boot: PredictedBoot
  device: Prediction
}

/** Returns the functions that a boot offers to another driver first, though its kernel has the holder. */
function failures(
  boots: readonly PredictedBoot[],
  devices: readonly PciDevice[],
  holder: Binding['holder'],
  { host }: BootSystem,
): Failure[] {
  const addresses = new Set(devices.map(({ address }) => address))
  const able = boots.filter(({ kernel, recovery, file }) => {
    const found = host.kernels.find(({ release }) => release === kernel)
    // Where no entry could be seen, the line of this boot is a guess.
    return !recovery && file !== BOOTED && found !== undefined && found.provides(holder) !== 'absent'
  })
  // Before a guest gets it, pci-stub lets go of nothing.
  const isHeld = (driver: string | null): boolean => isVfio(driver) && isStub(driver) === (holder === 'pci-stub')
  return able.flatMap((boot) =>
    (boot.devices ?? [])
      .filter((one) => addresses.has(one.address) && one.certainty !== 'undecided' && !isHeld(one.driver))
      .map((device) => ({ boot, device })),
  )
}

function expectBound(failed: readonly Failure[]): void {
  const [first] = failed
  if (first === undefined) return
  const { boot, device } = first
  const lines = failed.flatMap(({ device: { because, without } }) => [
    ...(because === null ? [] : [because]),
    ...without,
  ])
  throw new UserError(
    'contradiction',
    `${device.address} would be on ${device.driver ?? 'no driver'} after the boot of ${boot.kernel ?? boot.entry} all the same; correct that first, nothing was written`,
    [...new Set(lines)],
  )
}
