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
  '/usr/lib/virtiofsd',
  '/run/current-system/sw/bin',
]

/** Where a program is; `undefined` when it is nowhere that programs are kept. */
export function findProgram(files: Reader, ...names: string[]): string | undefined {
  return names.flatMap((name) => FOLDERS.map((folder) => `${folder}/${name}`)).find((path) => files.exists(path))
}

/** Is systemd what starts this system? Source: sd_booted(3); of another root, whether it is there. */
export function hasSystemd(files: Reader): boolean {
  return ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'].some((path) => files.exists(path))
}
