import type { Kernel } from '../host/installed-kernels.ts'
import type { IommuState } from '../host/iommu.ts'
import type { Machine, PciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { readCandidateModules } from '../system/candidate-modules.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import type { decideMechanism } from './mechanism.ts'

/** The facts that a binding is decided on. */
export interface BindFacts extends SystemFacts {
  iommu: IommuState
  /** For each installed kernel, the modules that its tables name for each selected function. */
  candidateModules: Parameters<typeof decideMechanism>[2]
  /** The same for every function of the host. */
  allCandidateModules: ReturnType<typeof readCandidateModules>
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
  const all = readCandidateModules(host, pci.devices)
  const places = selected.map((device) => pci.devices.indexOf(device))
  const own = {
    iommu: pci.iommu,
    allCandidateModules: all,
    candidateModules: (kernel: Kernel) => places.map((index) => all(kernel)[index] ?? null),
  }
  return Object.assign(readSystemFacts(host, adapters, requested), own)
}
