import { kernelRelease } from '../host/kernel.ts'
import { type Kernel, readKernels } from '../host/kernels.ts'
import type { Machine, PciFacts } from '../host/machine.ts'
import { readModuleTables } from '../host/modules.ts'
import { onDemand } from '../host/noticed.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { JOURNAL } from '../plan/entry.ts'
import { type Recorded, readJournal } from '../plan/journal.ts'
import { modprobeFiles, readModprobe } from '../plan/modprobe.ts'
import type { SystemFacts } from '../plan/settle.ts'
import type { Adapters, Host } from '../plan/system.ts'
import type { BindFacts } from './bind.ts'

/** The system as it is now: a reader remembers where paths lead, so each look takes a new one. */
export function readHost({ files, reader, running }: Machine): Host {
  const now = files.again()
  return { files: now, machine: reader === files ? now : reader, running, kernels: readKernels(now) }
}

/** The system as it is set up; `named`: the adapters that the person named. */
export function readSystemFacts(
  host: Host,
  adapters: Adapters,
  named: { bootloader: string | undefined; initramfs: string | undefined },
): SystemFacts {
  const { files, machine } = host
  const facts: SystemFacts = onDemand([files, machine], {
    host: () => host,
    modprobe: () => readModprobe(modprobeFiles(files, newest(host)?.release)),
    distro: () => readDistro(host, adapters),
    bootloader: () => adapters.findBootloader(host, named.bootloader),
    configured: () =>
      facts.distro.adapter?.declarative?.arguments(files) ?? facts.bootloader.adapter?.configured(host) ?? [],
    initramfs: () => adapters.findInitramfs(host, named.initramfs),
    journal: () => knownJournal(files),
  })
  return facts
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

export function readDistro({ files }: Host, adapters: Adapters): BindFacts['distro'] {
  return adapters.findDistro(readOsRelease(files))
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

/** Every kernel brings its own modules.softdep; what the newest says is what the next boot most likely reads. */
function newest({ kernels }: Host): Kernel | undefined {
  return kernels.at(-1)
}

/** Without root a plan is made as if this toolkit had changed nothing yet, and says so. */
function knownJournal(files: Reader): Recorded[] {
  const { length } = files.denials
  try {
    return readJournal(files)
  } catch (error) {
    if (files.denials.length === length) throw error
    files.denied.set(JOURNAL, files.denials.at(-1) ?? '')
    return []
  }
}
