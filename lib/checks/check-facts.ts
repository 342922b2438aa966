import { type Cpus, readCpus } from '../host/cpu.ts'
import { onDemand } from '../host/denied.ts'
import type { PciFacts } from '../host/machine.ts'
import { type Memory, readMemory } from '../host/memory.ts'
import { readUser, type User } from '../host/user.ts'
import type { PackageManager } from '../system/packages.ts'
import type { SystemFacts } from '../system/plan-settings.ts'

/** What check-host looks at. */
export interface CheckFacts extends SystemFacts {
  pci: PciFacts
  cpus: Cpus
  memory: Memory
  user: User
  /** The kernel log of this boot; `null` when it may not be read, or was not captured. */
  log: string | null
  /** Why not. */
  logMissing: string
  packages: PackageManager | undefined
  /** First line of what a program says of its version; `null` when it could not be asked. */
  version(path: string, option?: string): Promise<string | null>
}

/** Are the system and the machine one: the running one, or a capture of both? */
export function isSameSystem({ running, machine, files }: CheckFacts['host']): boolean {
  return running || machine.root === files.root
}

/** What each check asks for, read when it is asked for. */
export function readCheckFacts(
  system: SystemFacts,
  pci: () => PciFacts,
  rest: Pick<CheckFacts, 'log' | 'logMissing' | 'version'>,
): CheckFacts {
  const { machine, files, running } = system.host
  return onDemand([files, machine], {
    host: () => system.host,
    modprobe: () => system.modprobe,
    distro: () => system.distro,
    bootloader: () => system.bootloader,
    configured: () => system.configured,
    initramfs: () => system.initramfs,
    journal: () => system.journal,
    log: () => rest.log,
    logMissing: () => rest.logMissing,
    version: () => rest.version,
    pci,
    cpus: () => readCpus(machine),
    memory: () => readMemory(machine),
    user: () => readUser(machine, files, running),
    packages: () => system.distro.adapter?.packages,
  })
}
