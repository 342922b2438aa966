import { kernelRelease } from '../host/kernel.ts'
import { readModuleTables } from '../host/modules.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Host } from './system.ts'

/**
 * Returns a function that looks up, for a kernel, the modules that its own tables name for each device; `null` where
 * they are not readable.
 */
export function readCandidateModules(
  { files, machine }: Host,
  devices: readonly PciDevice[],
): (kernel: { release: string }) => (string[] | null)[] {
  const known = new Map<string, (string[] | null)[]>()
  const keys = devices.map(({ vendor, device, subsystem, class: type }) => ({
    vendor: vendor.id,
    device: device.id,
    subsystem,
    pciClass: type.id + type.progIf,
  }))
  return ({ release }) => {
    // The tables of the running kernel have been read already.
    const found =
      known.get(release) ??
      (release === kernelRelease(machine)
        ? devices.map(({ modules }) => modules)
        : readModuleTables([files], release).claiming(keys))
    known.set(release, found)
    return found
  }
}
