import type { IommuState } from '../host/iommu.ts'
import { kernelRelease } from '../host/kernel.ts'
import type { Machine, PciFacts } from '../host/machine.ts'
import { readModuleTables } from '../host/modules.ts'
import type { PciDevice } from '../host/pci.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters, Host } from '../system/system.ts'
import type { decideMechanism } from './mechanism.ts'

/** The facts that a binding is decided on. */
export interface BindFacts extends SystemFacts {
  iommu: IommuState
  /** For each installed kernel, the modules that its tables name for each selected function. */
  candidateModules: Parameters<typeof decideMechanism>[2]
}

/** Reads the facts that a binding is decided on. `requested`: the adapters that the person named. */
export function readBindFacts(
  machine: Machine,
  pci: PciFacts,
  selected: readonly PciDevice[],
  adapters: Adapters,
  requested: Parameters<typeof readSystemFacts>[2],
): BindFacts {
  const host = readHost(machine)
  const own = { iommu: pci.iommu, candidateModules: readCandidateModules(machine, host, selected) }
  return Object.assign(readSystemFacts(host, adapters, requested), own)
}

/** Returns a function that looks up, for a kernel, the modules that its own tables name for each selected function. */
export function readCandidateModules(
  machine: Machine,
  { files }: Host,
  selected: readonly PciDevice[],
): BindFacts['candidateModules'] {
  const keys = selected.map(({ vendor, device, subsystem, class: type }) => ({
    vendor: vendor.id,
    device: device.id,
    subsystem,
    pciClass: type.id + type.progIf,
  }))
  // The tables of the running kernel have been read already.
  return ({ release }) =>
    release === kernelRelease(machine.reader)
      ? selected.map(({ modules }) => modules)
      : readModuleTables([files], release).claiming(keys)
}
