import { isVfio } from '../host/pci.ts'
import type { Prediction } from './predict.ts'

/** Who has each device after a boot by one entry, as `--json` prints it. */
export interface PredictedBoot {
  /** The entry's title. */
  entry: string
  /** The release of its kernel; `null`: no kernel that has modules here. */
  kernel: string | null
  /** The file that the entry stands in. */
  file: string
  /** Is it booted when nobody chooses? `null`: that cannot be told. */
  default: boolean | null
  recovery: boolean
  /** The initramfs images of the entry, or its unified image. */
  images: string[]
  /** The devices; with a plan, those that change. `null`: it is not known what the entry boots, for `reason`. */
  devices: Prediction[] | null
  reason?: string
  /** Why the initramfs could not be looked into: then this is what one of its generator does. */
  unseen?: string
  /** The number of devices that are left out since each has the driver that it has now, for certain. */
  unchanged?: number
}

/** Who has each device after a boot: by the files as they are, and once images and boot entries are made of them. */
export interface ForeseenBoots {
  now: readonly PredictedBoot[]
  made: readonly PredictedBoot[]
}

/** Returns the boot that comes when nobody chooses; of several that may, the first that is not for recovery. */
export function usualBoot(boots: readonly PredictedBoot[]): PredictedBoot | undefined {
  return boots.find((one) => one.default === true) ?? boots.find(({ recovery }) => !recovery)
}

/** Does the device go to guests with the boot and not now, or the other way round, for certain? */
export function changesHands({ driver, now, certainty }: Prediction): boolean {
  return certainty === 'certain' && isVfio(driver) !== isVfio(now)
}

/** Returns who gets a device, and the line that decides: `0000:01:00.0: vfio-pci (nouveau now): FILE:LINE: …`. */
export function predictionLine({ address, driver, now, certainty, or, because, without }: Prediction): string {
  const who = certainty === 'undecided' ? or.join(' or ') : (driver ?? 'no driver')
  const why = because ?? without.at(-1)
  return `${address}: ${who} (${now ?? 'no driver'} now)${why === undefined ? '' : `: ${why}`}`
}
