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

/** Returns the path of the first of these programs that is there; `undefined` when none is in the usual folders. */
export function findProgram(files: Reader, ...names: string[]): string | undefined {
  return names.flatMap((name) => FOLDERS.map((folder) => `${folder}/${name}`)).find((path) => files.exists(path))
}

/** Does systemd start this system? Decided by whether it is there, as for another root. Source: sd_booted(3). */
export function hasSystemd(files: Reader): boolean {
  return ['/usr/lib/systemd/systemd', '/lib/systemd/systemd'].some((path) => files.exists(path))
}

/** Does OpenRC start libvirt? Debian's package has a script for it and sysvinit beside its unit of systemd. */
export function startsLibvirtByOpenrc(files: Reader): boolean {
  return !hasSystemd(files) && files.exists('/etc/init.d/libvirtd')
}

/** Returns the version of this system's systemd by its library, as 252; `undefined` where there is none. */
export function systemdVersion(files: Reader): number | undefined {
  const libraries = (files.list('/usr/lib') ?? []).filter((name) => name.endsWith('-linux-gnu'))
  const folders = ['/usr/lib/systemd', '/lib/systemd', '/usr/lib64/systemd']
  const names = [...folders, ...libraries.map((name) => `/usr/lib/${name}/systemd`)].flatMap(
    (folder) => files.list(folder) ?? [],
  )
  const version = names.map((name) => /^libsystemd-shared-(\d+)/.exec(name)?.[1]).find((one) => one !== undefined)
  return version === undefined ? undefined : Number(version)
}
