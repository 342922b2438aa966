import { type Cpus, readCpus } from '../host/cpu.ts'
import type { PciFacts } from '../host/machine.ts'
import { type Memory, readMemory } from '../host/memory.ts'
import { readUser, type User } from '../host/user.ts'
import type { SystemFacts } from '../plan/settle.ts'
import type { Packages } from '../plan/system.ts'

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
  packages: Packages | undefined
  /** First line of what a program says of its version; `null` when it could not be asked. */
  version(path: string, option?: string): Promise<string | null>
}

/** Are the system and the machine one: the running one, or a capture of both? */
export function isOne({ running, machine, files }: CheckFacts['host']): boolean {
  return running || machine.root === files.root
}

/** What can be read beside what the caller has. */
export function readCheckFacts(
  system: SystemFacts,
  pci: PciFacts,
  rest: Pick<CheckFacts, 'log' | 'logMissing' | 'version'>,
): CheckFacts {
  const { machine, files } = system.host
  return {
    ...system,
    ...rest,
    pci,
    cpus: readCpus(machine),
    memory: readMemory(machine),
    user: readUser(machine, files, system.host.running),
    packages: system.distro.adapter?.packages,
  }
}
