import type { PciDevice } from '../host/pci.ts'
import { predictedFunctions, type Sriov, type virtualFunctionsOf } from '../host/sriov.ts'
import type { WantedFunctions } from '../host/wanted-functions.ts'

// What a plan says of the virtual functions that come, and of those that are there.

/** Returns where so many functions are predicted to be. */
export function predictionNotes({ address }: PciDevice, sriov: Sriov, count: number): string[] {
  const all = predictedFunctions(address, sriov, count)
  const last = all.at(-1)
  if (last === undefined) return ['Their addresses are known when they are there: list-iommu --sriov shows them.']
  const range = count === 1 ? last : `${all[0]} to ${last}`
  return [`Predicted: ${range}. Addresses and groups are certain when they are there: list-iommu --sriov shows them.`]
}

/** What stays as it is of functions that are there in this number already; `setNow` gives them what the card keeps. */
export function presentNotes(
  present: ReturnType<typeof virtualFunctionsOf>,
  wanted: WantedFunctions,
  before: WantedFunctions | undefined,
  setNow: string,
): string[] {
  const others = present.filter(({ device }) => device.driver !== 'vfio-pci' && device.driver !== null)
  const shown = others.map(({ device }) => `${device.address} (${device.driver})`).join(', ')
  return [
    ...(wanted.driver === 'host' || others.length === 0
      ? []
      : [`They are there already; these stay with the host until the next boot: ${shown}.`]),
    ...(wanted.words.join() === (before?.words ?? []).join()
      ? []
      : [
          `They are there already: the card gives them what is new of MAC address, VLAN, trust and spoof check at the next boot, or by ${setNow}, while no guest has one.`,
        ]),
  ]
}
