import type { IommuState } from '../host/iommu.ts'
import { kernelRelease } from '../host/kernel.ts'
import type { Machine, PciFacts } from '../host/machine.ts'
import { readModuleTables } from '../host/modules.ts'
import type { PciDevice } from '../host/pci.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { SystemFacts } from '../system/settle.ts'
import type { Adapters, Host } from '../system/system.ts'
import type { decideMechanism } from './mechanism.ts'

/** What the decision stands on. */
export interface BindFacts extends SystemFacts {
  iommu: IommuState
  /** For each installed kernel, the modules that its tables name for each chosen function. */
  claiming: Parameters<typeof decideMechanism>[2]
}

/** All that a binding is decided on, read once. */
export function readBindFacts(
  machine: Machine,
  pci: PciFacts,
  chosen: readonly PciDevice[],
  adapters: Adapters,
  named: Parameters<typeof readSystemFacts>[2],
): BindFacts {
  const host = readHost(machine)
  return {
    ...readSystemFacts(host, adapters, named),
    iommu: pci.iommu,
    claiming: readClaiming(machine, host, chosen),
  }
}

/** Looks up the modules that a kernel's own tables name for each function. */
export function readClaiming(machine: Machine, { files }: Host, chosen: readonly PciDevice[]): BindFacts['claiming'] {
  const keys = chosen.map(({ vendor, device, subsystem, class: type }) => ({
    vendor: vendor.id,
    device: device.id,
    subsystem,
    pciClass: type.id + type.progIf,
  }))
  // The running kernel's tables were looked into already.
  return ({ release }) =>
    release === kernelRelease(machine.reader)
      ? chosen.map(({ modules }) => modules)
      : readModuleTables([files], release).claiming(keys)
}
