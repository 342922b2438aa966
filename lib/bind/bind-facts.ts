import type { Kernel } from '../host/installed-kernels.ts'
import type { IommuState } from '../host/iommu.ts'
import type { Machine, PciFacts } from '../host/machine.ts'
import type { PciDevice } from '../host/pci.ts'
import { readCandidateModules } from '../system/candidate-modules.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'

/** The facts that a binding is decided on. */
export interface BindFacts extends SystemFacts {
  iommu: IommuState
  /** Returns, for an installed kernel, the modules that its tables name for each of these functions. */
  candidateModules: (kernel: Kernel, devices: readonly PciDevice[]) => (string[] | null)[]
  /** The same for every function of the host. */
  allCandidateModules: ReturnType<typeof readCandidateModules>
}

/** Reads the facts that a binding is decided on. `requested`: the adapters that the person named. */
export function readBindFacts(
  machine: Machine,
  pci: PciFacts,
  adapters: Adapters,
  requested: Parameters<typeof readSystemFacts>[2],
): BindFacts {
  const host = readHost(machine)
  const all = readCandidateModules(host, pci.devices)
  const own = {
    iommu: pci.iommu,
    allCandidateModules: all,
    candidateModules: (kernel: Kernel, devices: readonly PciDevice[]) =>
      devices.map((device) => all(kernel)[pci.devices.indexOf(device)] ?? null),
  }
  return Object.assign(readSystemFacts(host, adapters, requested), own)
}
