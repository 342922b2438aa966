import { findProgram } from '../host/find-program.ts'
import { readUefiImages } from '../host/guest-firmware.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { Reader } from '../host/reader.ts'

/** A piece of software that a host runs and makes guests with. */
export type GuestSoftware = 'qemu' | 'libvirt' | 'ovmf' | 'swtpm' | 'virtiofsd' | 'virt-install' | 'osinfo'

/** A package manager: its command to install software, and its package names (several in one text: all are needed). */
export interface PackageManager {
  /** The command that package names follow (`apt install`); on a declarative system, what a person does instead. */
  command: string
  /** The commands that install and remove packages without a question; none where that is not done in place. */
  unattended?: { install: readonly string[]; remove: readonly string[] }
  packageNames: Readonly<Record<GuestSoftware, string>>
  /** Other package names in some releases, by codename. */
  releases?: Readonly<Record<string, Partial<Record<GuestSoftware, string>>>>
}

/** Returns the names of the packages that bring the software on this system; the name of the software if unknown. */
export function packageNameFor(packages: PackageManager | undefined, software: GuestSoftware, files: Reader): string {
  return packages?.releases?.[readOsRelease(files).codename]?.[software] ?? packages?.packageNames[software] ?? software
}

/** The programs that show that the software is installed: any one of them does. */
const PROGRAMS: Readonly<Record<Exclude<GuestSoftware, 'ovmf'>, readonly string[]>> = {
  qemu: ['qemu-system-x86_64', 'qemu-kvm'],
  libvirt: ['libvirtd', 'virtqemud'],
  swtpm: ['swtpm'],
  virtiofsd: ['virtiofsd'],
  'virt-install': ['virt-install'],
  osinfo: ['osinfo-query'],
}

/**
 * Returns the path of a file that shows that the software is installed; `undefined` where none does; `null` where it
 * cannot be known, because the machine was captured without its system (neither /usr/bin nor /bin).
 */
export function findInstalled(files: Reader, software: GuestSoftware): string | null | undefined {
  const found = software === 'ovmf' ? readUefiImages(files)?.[0]?.code : findProgram(files, ...PROGRAMS[software])
  return found ?? (['/usr/bin', '/bin'].some((folder) => files.exists(folder)) ? undefined : null)
}
