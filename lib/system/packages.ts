import { findProgram } from '../host/find-program.ts'
import { readUefiImages } from '../host/guest-firmware.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { Reader } from '../host/reader.ts'

/** What a host needs to run guests. */
export type GuestSoftware = 'qemu' | 'libvirt' | 'ovmf' | 'swtpm' | 'virt-manager' | 'virtiofsd'

/** A package manager: the command that installs what a host needs, and how it calls that (several names: all of them). */
export interface PackageManager {
  /** `apt install`, followed by names; of a declarative system, what a person does instead. */
  command: string
  /** The same without a question, and what takes packages away again; none where it is not done in place. */
  unattended?: { install: readonly string[]; remove: readonly string[] }
  packageNames: Readonly<Record<GuestSoftware, string>>
  /** Other names in some releases, by codename. */
  releases?: Readonly<Record<string, Partial<Record<GuestSoftware, string>>>>
}

/** What this system calls the packages that bring a need. */
export function packageNameFor(packages: PackageManager | undefined, software: GuestSoftware, files: Reader): string {
  return packages?.releases?.[readOsRelease(files).codename]?.[software] ?? packages?.packageNames[software] ?? software
}

/** What each need is known by: any of these programs. */
const PROGRAMS: Readonly<Record<Exclude<GuestSoftware, 'ovmf' | 'virt-manager'>, readonly string[]>> = {
  qemu: ['qemu-system-x86_64', 'qemu-kvm'],
  libvirt: ['libvirtd', 'virtqemud'],
  swtpm: ['swtpm'],
  virtiofsd: ['virtiofsd'],
}

/**
 * The file by which a need is met; `undefined`: by none. `null`: not to be seen, for of a machine without its system
 * (no /usr/bin) nobody knows what is installed there.
 */
export function findInstalled(
  files: Reader,
  software: Exclude<GuestSoftware, 'virt-manager'>,
): string | null | undefined {
  const found = software === 'ovmf' ? readUefiImages(files)?.[0]?.code : findProgram(files, ...PROGRAMS[software])
  return found ?? (['/usr/bin', '/bin'].some((folder) => files.exists(folder)) ? undefined : null)
}
