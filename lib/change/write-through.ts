import { UserError } from '../core/error.ts'
import { mountOf, readMounts } from '../host/mounts.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/sysroot.ts'
import { shownPath } from './beneath.ts'
import { runCommand } from './run.ts'

/** The folders in which programs that make boot files write, beside the paths that they are known to touch. */
const BOOT_FOLDERS = ['/', '/boot', '/boot/efi', '/efi', '/esp', '/etc', '/var', '/usr', '/lib/modules']
/** The seconds that a disk may take for unwritten data: a slow one with a gigabyte of it takes a minute. */
const SYNC_SECONDS = 600
const FREEZE_SECONDS = 20
/** The folders whose file systems must not be frozen: the program that thaws them needs them. */
const NEVER_FROZEN = ['/', '/usr', '/bin', '/lib', '/etc', '/var', '/tmp', '/run', '/dev', '/proc', '/sys']

/**
 * Writes to the disk what programs wrote: their files, the folders, and all else of the file systems that boot this
 * machine, so that it can be read without replaying a journal (GRUB cannot). syncfs(2) also moves what ext4 has
 * committed to its journal to its place; XFS does that when it is frozen, which is how ostree does it.
 * `paths`: the files and folders below `root` that the programs may have touched.
 * Throws a UserError with code `unwritable` when the disk does not take it.
 */
export async function writeThrough(root: string, files: Reader, paths: readonly string[]): Promise<void> {
  const places = [...new Set([...BOOT_FOLDERS, ...paths].flatMap((path) => folderOf(files, path)))]
  const shown = places.map((path) => shownPath(root, path))
  const { code, output } = await runCommand(['sync', '-f', '--', ...shown], { root: '/', seconds: SYNC_SECONDS })
  // A sync(1) without the option `-f` writes all file systems.
  if (code !== 0 && /unrecognized option|invalid option|usage/i.test(output))
    await runCommand(['sync'], { root: '/', seconds: SYNC_SECONDS })
  else if (code !== 0) {
    const reason = output.trim().split('\n').at(-1)
    throw new UserError('unwritable', `what was made is not on the disk: ${reason}; see the kernel log`)
  }
  for (const point of freezableMounts(openReader('/'), root, shown)) await freeze(point)
}

function folderOf(files: Reader, path: string): string[] {
  const there = files.resolve(path)
  if (there === undefined) return []
  return [files.list(there) === undefined ? there.slice(0, there.lastIndexOf('/')) || '/' : there]
}

/** Returns the mount points of the XFS file systems that hold these paths, and nothing of `NEVER_FROZEN`. */
function freezableMounts(own: Reader, root: string, paths: readonly string[]): string[] {
  const mounts = readMounts(own) ?? []
  const needed = new Set(
    [...NEVER_FROZEN, ...NEVER_FROZEN.map((path) => shownPath(root, path))].map(
      (path) => mountOf(mounts, path)?.number,
    ),
  )
  const of = paths.flatMap((path) => mountOf(mounts, path) ?? [])
  return [...new Set(of.filter(({ type, number }) => type === 'xfs' && !needed.has(number)).map(({ point }) => point))]
}

/** Freezes and thaws a file system. One that cannot be frozen stays as sync left it: XFS itself replays its log. */
async function freeze(point: string): Promise<void> {
  const argv = ['sh', '-c', 'fsfreeze -f "$1"; fsfreeze -u "$1"', 'sh', point]
  const { code } = await runCommand(argv, { root: '/', seconds: FREEZE_SECONDS })
  if (code === null) await runCommand(['fsfreeze', '-u', point], { root: '/', seconds: FREEZE_SECONDS })
}
