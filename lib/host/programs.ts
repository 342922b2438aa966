import type { Reader } from './reader.ts'

const FOLDERS = [
  '/usr/bin',
  '/usr/sbin',
  '/bin',
  '/sbin',
  '/usr/local/bin',
  '/usr/local/sbin',
  '/usr/libexec',
  '/usr/lib/qemu',
  '/usr/lib',
  '/run/current-system/sw/bin',
]

/** Where a program is; `undefined` when it is nowhere that programs are kept. */
export function findProgram(files: Reader, ...names: string[]): string | undefined {
  return names.flatMap((name) => FOLDERS.map((folder) => `${folder}/${name}`)).find((path) => files.exists(path))
}

const OVMF = [
  '/usr/share/OVMF/OVMF_CODE_4M.fd',
  '/usr/share/OVMF/OVMF_CODE.fd',
  '/usr/share/edk2/x64/OVMF_CODE.4m.fd',
  '/usr/share/edk2/ovmf/OVMF_CODE.fd',
  '/usr/share/edk2-ovmf/OVMF_CODE.fd',
  '/usr/share/edk2-ovmf/x64/OVMF_CODE.fd',
  '/usr/share/qemu/ovmf-x86_64-code.bin',
  '/usr/share/qemu/edk2-x86_64-code.fd',
  '/run/libvirt/nix-ovmf/OVMF_CODE.fd',
]

/** Where the firmware for guests is: Debian, Arch, Fedora, Gentoo, openSUSE, QEMU's own, NixOS. */
export function findFirmware(files: Reader): string | undefined {
  return OVMF.find((path) => files.exists(path))
}
