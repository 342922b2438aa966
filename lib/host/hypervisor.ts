import coerce from 'semver/functions/coerce.js'
import { readEdk2, readUefiImages, type UefiImage } from './guest-firmware.ts'
import { readMemory } from './memory.ts'
import type { Reader } from './reader.ts'

/** The host's equipment for guests; `null` is unknown. */
export interface Hypervisor {
  /** The version, as `9.0.0`. */
  libvirt: string | null
  qemu: string | null
  /** The UEFI images in libvirt's order; `null` when the system's files are not at hand. */
  uefiImages: UefiImage[] | null
  /** The release of edk2 of the installed package, as 202211; `null` when it is not known. */
  edk2: number | null
  memoryKib: number | null
  hugepages: { kib: number; total: number; free: number }[]
  /** Is the device of Looking Glass's kernel module there? */
  kvmfr: boolean
  /** Does KVM use the CPU's own virtual interrupt controller (APICv, AVIC)? */
  virtualApic: boolean | null
}

/** Reads the host's equipment for guests. `files` is the system (/usr, /etc), `reader` the machine (/proc, /sys). */
export function readHypervisor(files: Reader, reader: Reader): Hypervisor {
  const { total, hugePages } = readMemory(reader)
  const qemu = readQemuVersion(files)
  return {
    libvirt: readLibvirtVersion(files),
    qemu,
    uefiImages: readUefiImages(files, qemu),
    edk2: readEdk2(files),
    memoryKib: total === undefined ? null : total / 1024,
    hugepages: hugePages.map((pages) => ({ kib: pages.size / 1024, total: pages.total ?? 0, free: pages.free ?? 0 })),
    kvmfr: files.exists('/dev/kvmfr0'),
    virtualApic: readVirtualApic(reader),
  }
}

function readVirtualApic(reader: Reader): boolean | null {
  const texts = ['kvm_intel/parameters/enable_apicv', 'kvm_amd/parameters/avic'].map((name) =>
    reader.text(`/sys/module/${name}`)?.trim(),
  )
  const [reported] = texts.filter((text) => text !== undefined)
  return reported === undefined ? null : /^[Y1]/.test(reported)
}

/**
 * Reads libvirt's version from the library's name: `libvirt.so.0.9000.0` is 9.0.0 (1000 times the major number, plus
 * the minor).
 */
export function readLibvirtVersion(files: Reader): string | null {
  const folders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib', '/run/current-system/sw/lib']
  for (const folder of folders) {
    const names = folder === '/usr/lib' && !files.exists('/usr/lib/libvirt.so.0') ? [] : (files.list(folder) ?? [])
    for (const name of names) {
      const [, thousands, micro] = /^libvirt\.so\.0\.(\d+)\.(\d+)$/.exec(name) ?? []
      if (thousands !== undefined)
        return `${Math.floor(Number(thousands) / 1000)}.${Number(thousands) % 1000}.${micro ?? 0}`
    }
  }
  return null
}

/** Reads QEMU's version from the package manager's database, where that is text or folders: no file of QEMU has it. */
function readQemuVersion(files: Reader): string | null {
  const dpkg = files.optionalBytes('/var/lib/dpkg/status')?.toString('utf8') ?? ''
  const apk = files.optionalBytes('/lib/apk/db/installed')?.toString('utf8') ?? ''
  const folders = [...(files.list('/var/lib/pacman/local') ?? []), ...(files.list('/var/db/pkg/app-emulation') ?? [])]
  const found = [
    /^Package: (?:qemu-system-x86|pve-qemu-kvm)\n(?:\S.*\n| .*\n)*?Version: (?:\d+:)?([\d.]+)/m.exec(dpkg)?.[1],
    /^P:qemu-system-x86_64\nV:([\d.]+)/m.exec(apk)?.[1],
    ...folders.map((name) => /^qemu-(?:system-x86-|base-)?(\d[\d.]*)/.exec(name)?.[1]),
  ].find((version) => version !== undefined)
  return coerce(found)?.version ?? null
}
