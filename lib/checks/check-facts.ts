import { type KernelReports, readKernelReports } from '../bind/kernel-report.ts'
import { withGroupMates } from '../bind/plan-binding.ts'
import type { CheckResult } from '../core/finding.ts'
import { type Cpus, readCpus } from '../host/cpu.ts'
import { onDemand } from '../host/denied.ts'
import type { PciFacts } from '../host/machine.ts'
import { type Memory, readMemory } from '../host/memory.ts'
import type { PciDevice } from '../host/pci.ts'
import { type DeviceUsage, readDeviceUsage } from '../host/usage.ts'
import { readUser, type User } from '../host/user.ts'
import type { ForeseenBoots } from '../predict/predicted-boot.ts'
import { readCandidateModules } from '../system/candidate-modules.ts'
import type { PackageManager } from '../system/packages.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import type { Check } from './check.ts'

/** The facts that speak for or against giving devices to a guest. */
export interface GuardFacts {
  pci: Pick<PciFacts, 'devices' | 'groups'>
  /** The devices that were named, without bridges that came along with `group:14`. */
  requested: readonly PciDevice[]
  /** The requested devices and their group mates, without the bridges among these. */
  selected: readonly PciDevice[]
  /** The functions that the guest gets, which should be whole cards: those selected or, for gen-domain, requested. */
  given: readonly PciDevice[]
  /** The answer of `readDeviceUsage` for the selected devices. */
  usage: DeviceUsage
}

/** The facts that check-host looks at. */
export interface CheckFacts extends SystemFacts, GuardFacts {
  pci: PciFacts
  cpus: Cpus
  memory: Memory
  user: User
  /** The kernel log of this boot; `null` when it may not be read, or was not captured. */
  log: string | null
  /** The reason why there is no log. */
  logMissing: string
  packages: PackageManager | undefined
  /** Foresees the next boot; images are looked into for it. */
  foreseen(): Promise<ForeseenBoots>
  kernelReports: KernelReports
  /** The ROM file that a guest is to get; `null`: none. */
  romFile: { path: string; data: Buffer } | null
  /** Asks a program for its version, the first line of its answer; `null` when it could not be asked. */
  version(path: string): Promise<string | null>
}

/** A check by which bind-vfio and gen-domain refuse, and the facts that it needs. */
export type Guard<Needs extends keyof GuardFacts> = Check<Pick<GuardFacts, Needs>, CheckResult>

/** A check of check-host, and the facts that it needs. */
export type HostCheck<Needs extends keyof CheckFacts> = Check<Pick<CheckFacts, Needs>>

/** Do the system and the machine belong together: both running, or captured together? */
export function isSameSystem({ running, machine, files }: CheckFacts['host']): boolean {
  return running || machine.root === files.root
}

/** Returns the facts of checks; each is read when a check first asks for it. */
export function readCheckFacts(
  system: SystemFacts,
  pci: () => PciFacts,
  requested: (pci: PciFacts) => PciDevice[],
  rest: Pick<CheckFacts, 'log' | 'logMissing' | 'version' | 'romFile' | 'foreseen'>,
): CheckFacts {
  const { machine: reader, files, running } = system.host
  const facts: CheckFacts = onDemand([files, reader], {
    host: () => system.host,
    modprobe: () => system.modprobe,
    distro: () => system.distro,
    bootloader: () => system.bootloader,
    configured: () => system.configured,
    initramfs: () => system.initramfs,
    entries: () => system.entries,
    journal: () => system.journal,
    log: () => rest.log,
    logMissing: () => rest.logMissing,
    version: () => rest.version,
    foreseen: () => rest.foreseen,
    romFile: () => rest.romFile,
    pci,
    requested: () => requested(facts.pci),
    selected: () => withGroupMates(facts.pci.devices, facts.requested),
    given: () => facts.selected,
    usage: () => readDeviceUsage(reader, files, facts.selected),
    kernelReports: () =>
      readKernelReports(facts, facts.selected, (devices) => readCandidateModules(facts.host, devices)),
    cpus: () => readCpus(reader),
    memory: () => readMemory(reader),
    user: () => readUser(reader, files, running),
    packages: () => system.distro.adapter?.packages,
  })
  return facts
}
