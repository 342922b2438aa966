// What UEFI images hosts have, and how they describe them: for fake hosts, and for a real libvirtd.
import { existsSync } from 'node:fs'
import { addFiles, addLinks } from './fake/host.ts'
import type { Libvirt } from './libvirt.ts'
import type { Machine } from './machine.ts'
import { runProgram } from './run.ts'

/** Which of OVMF's builds a file is: of code without and with SMM, of variables without and with Microsoft's keys. */
type Build = 'plain' | 'smm' | 'vars' | 'keys'

interface Situation {
  /** Path → what is in it; as qcow2, where its name says so. */
  images: Readonly<Record<string, Build>>
  /** Path → its description. */
  descriptions: Readonly<Record<string, object>>
  links?: Readonly<Record<string, string>>
  /** The database of packages. */
  release?: string
}

const BUILDS: Readonly<Record<Build, string>> = {
  plain: '/usr/share/OVMF/OVMF_CODE_4M.fd',
  smm: '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd',
  vars: '/usr/share/OVMF/OVMF_VARS_4M.fd',
  keys: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd',
}

/** A description in QEMU's own form (docs/interop/firmware.json). */
export function description(code: string, vars: string, ...features: string[]): object {
  const format = code.endsWith('qcow2') ? 'qcow2' : 'raw'
  const machines = features.includes('requires-smm') ? ['pc-q35-*'] : ['pc-i440fx-*', 'pc-q35-*']
  return {
    description: 'UEFI firmware for x86_64',
    'interface-types': ['uefi'],
    mapping: {
      device: 'flash',
      executable: { filename: code, format },
      'nvram-template': { filename: vars, format },
    },
    targets: [{ architecture: 'x86_64', machines }],
    features: ['acpi-s3', 'verbose-dynamic', ...features],
    tags: [],
  }
}

const SMM = ['requires-smm', 'secure-boot']
const [DEBIAN, QEMU, EDK2] = ['/usr/share/OVMF', '/usr/share/qemu', '/usr/share/edk2/ovmf']
const STORE = '/nix/store/00000000000000000000000000000000-qemu-10.1.2/share/qemu'
const LINKED = '/run/libvirt/nix-ovmf'

const ofQemu = (folder: string, images: string): Situation['descriptions'] => ({
  [`${folder}/50-edk2-x86_64-secure.json`]: description(
    `${images}/edk2-x86_64-secure-code.fd`,
    `${images}/edk2-i386-vars.fd`,
    ...SMM,
  ),
  [`${folder}/60-edk2-x86_64.json`]: description(`${images}/edk2-x86_64-code.fd`, `${images}/edk2-i386-vars.fd`),
})
const qemuImages = (folder: string): Situation['images'] => ({
  [`${folder}/edk2-x86_64-secure-code.fd`]: 'smm',
  [`${folder}/edk2-x86_64-code.fd`]: 'plain',
  [`${folder}/edk2-i386-vars.fd`]: 'vars',
})

export const SITUATIONS = {
  debian: {
    images: {
      [`${DEBIAN}/OVMF_CODE_4M.fd`]: 'plain',
      [`${DEBIAN}/OVMF_CODE_4M.secboot.fd`]: 'smm',
      [`${DEBIAN}/OVMF_CODE_4M.ms.fd`]: 'smm',
      [`${DEBIAN}/OVMF_VARS_4M.fd`]: 'vars',
      [`${DEBIAN}/OVMF_VARS_4M.ms.fd`]: 'keys',
    },
    descriptions: {
      [`${QEMU}/firmware/40-edk2-x86_64-secure-enrolled.json`]: description(
        `${DEBIAN}/OVMF_CODE_4M.ms.fd`,
        `${DEBIAN}/OVMF_VARS_4M.ms.fd`,
        'enrolled-keys',
        ...SMM,
      ),
      [`${QEMU}/firmware/50-edk2-x86_64-secure.json`]: description(
        `${DEBIAN}/OVMF_CODE_4M.secboot.fd`,
        `${DEBIAN}/OVMF_VARS_4M.fd`,
        ...SMM,
      ),
      [`${QEMU}/firmware/60-edk2-x86_64.json`]: description(`${DEBIAN}/OVMF_CODE_4M.fd`, `${DEBIAN}/OVMF_VARS_4M.fd`),
    },
    release: 'Package: ovmf\nStatus: install ok installed\nVersion: 2022.11-6+deb12u2\n\n',
  },
  fedora: {
    images: {
      [`${EDK2}/OVMF_CODE_4M.qcow2`]: 'plain',
      [`${EDK2}/OVMF_CODE_4M.secboot.qcow2`]: 'smm',
      [`${EDK2}/OVMF_VARS_4M.qcow2`]: 'vars',
      [`${EDK2}/OVMF_VARS_4M.secboot.qcow2`]: 'keys',
    },
    descriptions: {
      [`${QEMU}/firmware/30-edk2-ovmf-4m-qcow2-x64-sb-enrolled.json`]: description(
        `${EDK2}/OVMF_CODE_4M.secboot.qcow2`,
        `${EDK2}/OVMF_VARS_4M.secboot.qcow2`,
        'enrolled-keys',
        ...SMM,
      ),
      [`${QEMU}/firmware/40-edk2-ovmf-4m-qcow2-x64-sb.json`]: description(
        `${EDK2}/OVMF_CODE_4M.secboot.qcow2`,
        `${EDK2}/OVMF_VARS_4M.qcow2`,
        ...SMM,
      ),
      [`${QEMU}/firmware/50-edk2-ovmf-4m-qcow2-x64-nosb.json`]: description(
        `${EDK2}/OVMF_CODE_4M.qcow2`,
        `${EDK2}/OVMF_VARS_4M.qcow2`,
      ),
    },
  },
  qemu: { images: qemuImages(QEMU), descriptions: ofQemu(`${QEMU}/firmware`, QEMU) },
  nixos: {
    images: qemuImages(STORE),
    descriptions: ofQemu('/var/lib/qemu/firmware', STORE),
    links: Object.fromEntries(
      Object.keys(qemuImages(STORE)).map((path) => [`${LINKED}/${path.slice(STORE.length + 1)}`, path]),
    ),
  },
  none: { images: {}, descriptions: {} },
} as const satisfies Record<string, Situation>

export type SituationName = keyof typeof SITUATIONS
export const SITUATION_NAMES = Object.keys(SITUATIONS) as SituationName[]

/** The files of that situation on a fake host, by path: images without content. */
export function firmwareFiles(name: SituationName): Record<string, string> {
  const { images, descriptions, release }: Situation = SITUATIONS[name]
  return {
    ...Object.fromEntries(Object.keys(images).map((path) => [path, ''])),
    ...Object.fromEntries(Object.entries(descriptions).map(([path, content]) => [path, JSON.stringify(content)])),
    ...(release === undefined ? {} : { '/var/lib/dpkg/status': release }),
  }
}

export function addFirmware(machine: Machine, name: SituationName): void {
  const { links = {} }: Situation = SITUATIONS[name]
  addFiles(machine, firmwareFiles(name))
  addLinks(machine, links)
}

/** The same on the system of a real libvirtd, with images that run. Debian's is what it has already. */
export function putFirmware(libvirt: Libvirt, name: SituationName): void {
  const { images, descriptions, links = {} }: Situation = SITUATIONS[name]
  const kept = '/usr/share/kept'
  if (!existsSync(libvirt.path(kept)))
    for (const [build, path] of Object.entries(BUILDS)) libvirt.copy(path, `${kept}/${build}`)
  for (const path of [`${QEMU}/firmware`, DEBIAN, '/var/lib/qemu/firmware']) libvirt.remove(path)
  for (const [path, build] of Object.entries(images)) {
    libvirt.copy(`${kept}/${build}`, path)
    const raw = libvirt.path(`${kept}/${build}`)
    if (path.endsWith('qcow2')) runProgram('qemu-img', ['convert', '-O', 'qcow2', raw, libvirt.path(path)])
  }
  for (const [path, content] of Object.entries(descriptions)) libvirt.write(path, JSON.stringify(content))
  for (const [path, target] of Object.entries(links)) libvirt.link(target, path)
}
