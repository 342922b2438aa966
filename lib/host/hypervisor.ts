import coerce from 'semver/functions/coerce.js'
import { readMemory } from './memory.ts'
import { findProgram } from './programs.ts'
import type { Reader } from './reader.ts'

/** What a host has for guests. Unknown is `null`. */
export interface Hypervisor {
  /** Versions, as `9.0.0`. */
  libvirt: string | null
  qemu: string | null
  /** UEFI images, in the order in which QEMU's own descriptions rank them. */
  firmwares: Firmware[]
  memoryKib: number | null
  hugepages: { kib: number; total: number; free: number }[]
  /** Is Looking Glass's kernel module's device there? */
  kvmfr: boolean
  /** What emulates TPMs, and what shares folders: are they installed? */
  swtpm: boolean
  virtiofsd: boolean
}

/** A UEFI image for x86-64 guests with its template of variables. */
export interface Firmware {
  code: string
  vars: string
  /** Does it hold SMM, which Secure Boot needs? */
  secure: boolean
  /** Are Microsoft's keys enrolled? */
  enrolled: boolean
}

/** `files` is the system (/usr, /etc), `reader` the machine (/proc, /sys). */
export function readHypervisor(files: Reader, reader: Reader): Hypervisor {
  const { total, hugePages } = readMemory(reader)
  return {
    libvirt: readLibvirtVersion(files),
    qemu: readQemuVersion(files),
    firmwares: readFirmwares(files),
    memoryKib: total === undefined ? null : total / 1024,
    hugepages: hugePages.map((pages) => ({ kib: pages.size / 1024, total: pages.total ?? 0, free: pages.free ?? 0 })),
    kvmfr: files.exists('/dev/kvmfr0'),
    swtpm: findProgram(files, 'swtpm') !== undefined,
    virtiofsd: findProgram(files, 'virtiofsd') !== undefined,
  }
}

/** The library is called by its version: `libvirt.so.0.9000.0` is 9.0.0 (1000 times the major number, plus the minor). */
function readLibvirtVersion(files: Reader): string | null {
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

/** QEMU's version stands in no file of its own: the package manager's database tells, where it is text or folders. */
function readQemuVersion(files: Reader): string | null {
  const dpkg = files.optionalBytes('/var/lib/dpkg/status')?.toString('utf8') ?? ''
  const apk = files.optionalBytes('/lib/apk/db/installed')?.toString('utf8') ?? ''
  const folders = [...(files.list('/var/lib/pacman/local') ?? []), ...(files.list('/var/db/pkg/app-emulation') ?? [])]
  const found = [
    /^Package: qemu-system-x86\n(?:\S.*\n| .*\n)*?Version: (?:\d+:)?([\d.]+)/m.exec(dpkg)?.[1],
    /^P:qemu-system-x86_64\nV:([\d.]+)/m.exec(apk)?.[1],
    ...folders.map((name) => /^qemu-(?:system-x86-|base-)?(\d[\d.]*)/.exec(name)?.[1]),
  ].find((version) => version !== undefined)
  return coerce(found)?.version ?? null
}

/** Where distributions put OVMF when nothing describes it: code, variables, SMM. */
const KNOWN: readonly [code: string, vars: string, secure: boolean][] = [
  ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd', false],
  ['/usr/share/OVMF/OVMF_CODE_4M.ms.fd', '/usr/share/OVMF/OVMF_VARS_4M.ms.fd', true],
  ['/usr/share/OVMF/OVMF_CODE.fd', '/usr/share/OVMF/OVMF_VARS.fd', false],
  ['/usr/share/OVMF/OVMF_CODE.secboot.fd', '/usr/share/OVMF/OVMF_VARS.secboot.fd', true],
  ['/usr/share/edk2/x64/OVMF_CODE.4m.fd', '/usr/share/edk2/x64/OVMF_VARS.4m.fd', false],
  ['/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd', '/usr/share/edk2/x64/OVMF_VARS.4m.fd', true],
  ['/usr/share/edk2-ovmf/x64/OVMF_CODE.fd', '/usr/share/edk2-ovmf/x64/OVMF_VARS.fd', false],
  ['/usr/share/edk2-ovmf/OVMF_CODE.fd', '/usr/share/edk2-ovmf/OVMF_VARS.fd', false],
  ['/usr/share/qemu/ovmf-x86_64-code.bin', '/usr/share/qemu/ovmf-x86_64-vars.bin', false],
]

/** Source: QEMU, docs/interop/firmware.json. */
export function readFirmwares(files: Reader): Firmware[] {
  const folders = ['/etc/qemu/firmware', '/usr/share/qemu/firmware']
  const names = new Set(folders.flatMap((folder) => files.list(folder) ?? []))
  const described = [...names].sort().flatMap((name) => {
    const text = folders.map((folder) => files.optionalText(`${folder}/${name}`)).find((each) => each !== undefined)
    const found = parseDescription(text ?? '')
    return found !== undefined && files.exists(found.code) && files.exists(found.vars) ? [found] : []
  })
  if (described.length > 0) return described
  return KNOWN.filter(([code, vars]) => files.exists(code) && files.exists(vars)).map(([code, vars, secure]) => ({
    code,
    vars,
    secure,
    enrolled: vars.includes('.ms.') || vars.includes('secboot'),
  }))
}

interface Description {
  'interface-types'?: string[]
  mapping?: { executable?: { filename?: string; format?: string }; 'nvram-template'?: { filename?: string } }
  targets?: { architecture?: string }[]
  features?: string[]
}

function parseDescription(text: string): Firmware | undefined {
  let description: Description
  try {
    description = JSON.parse(text) as Description
  } catch {
    return undefined
  }
  const { mapping, features = [], targets = [] } = description
  const [code, vars] = [mapping?.executable?.filename, mapping?.['nvram-template']?.filename]
  if (code === undefined || vars === undefined || mapping?.executable?.format === 'qcow2') return undefined
  if (!targets.some(({ architecture }) => architecture === 'x86_64')) return undefined
  return { code, vars, secure: features.includes('requires-smm'), enrolled: features.includes('enrolled-keys') }
}
