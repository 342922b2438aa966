import { findProgram } from '../../lib/host/find-program.ts'
import { readFstab } from '../../lib/host/mounts.ts'
import type { Reader } from '../../lib/host/reader.ts'

/** Is the root file system, with /usr, one that transactional-update keeps read-only? /etc can be written to. */
export function isReadOnlyRoot(files: Reader): boolean {
  const isReadOnly = readFstab(files).some(({ target, options }) => target === '/' && options.includes('ro'))
  return isReadOnly && findProgram(files, 'transactional-update') !== undefined
}

/**
 * Is /boot part of a root file system that transactional-update keeps read-only (MicroOS, Leap Micro)? Then images and
 * menus are made in a new snapshot, which takes the present /etc along. sdbootutil's are on the ESP.
 * Source: transactional-update(8), commands initrd and grub.cfg.
 */
export function isTransactional(files: Reader): boolean {
  const hasOwnBoot = readFstab(files).some(({ target, type }) => target === '/boot' && type !== 'btrfs')
  return isReadOnlyRoot(files) && !hasOwnBoot && findProgram(files, 'sdbootutil') === undefined
}
