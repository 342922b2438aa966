import { findProgram } from '../host/find-program.ts'
import { readFirmwares } from '../host/guest-firmware.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { Reader } from '../host/reader.ts'

/** What a host needs to run guests. */
export type Need = 'qemu' | 'libvirt' | 'ovmf' | 'swtpm' | 'virt-manager' | 'virtiofsd'

/** How a distribution calls what a host needs (several names: all of them), and the command that installs it. */
export interface Packages {
  /** `apt install`, followed by names; of a declarative system, what a person does instead. */
  command: string
  /** The same without a question, and what takes packages away again; none where it is not done in place. */
  unattended?: { install: readonly string[]; remove: readonly string[] }
  names: Readonly<Record<Need, string>>
  /** Other names in some releases, by codename. */
  releases?: Readonly<Record<string, Partial<Record<Need, string>>>>
}

/** What this system calls the packages that bring a need. */
export function packageOf(packages: Packages | undefined, need: Need, files: Reader): string {
  return packages?.releases?.[readOsRelease(files).codename]?.[need] ?? packages?.names[need] ?? need
}

/** What each need is known by: any of these programs. */
const PROGRAMS: Readonly<Record<Exclude<Need, 'ovmf' | 'virt-manager'>, readonly string[]>> = {
  qemu: ['qemu-system-x86_64', 'qemu-kvm'],
  libvirt: ['libvirtd', 'virtqemud'],
  swtpm: ['swtpm'],
  virtiofsd: ['virtiofsd'],
}

/** Where a need is met already. */
export function present(files: Reader, need: Exclude<Need, 'virt-manager'>): string | undefined {
  return need === 'ovmf' ? readFirmwares(files)?.[0]?.code : findProgram(files, ...PROGRAMS[need])
}
