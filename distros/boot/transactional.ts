import { findProgram } from '../../lib/host/find-program.ts'
import { readFstab } from '../../lib/host/mounts.ts'
import type { Reader } from '../../lib/host/reader.ts'

/**
 * Is /boot part of a root file system that transactional-update keeps read-only (MicroOS, Leap Micro)? Then images and
 * menus are made in a new snapshot, which takes the present /etc along. sdbootutil's are on the ESP.
 * Source: transactional-update(8), commands initrd and grub.cfg.
 */
export function isTransactional(files: Reader): boolean {
  const mounts = readFstab(files)
  const isReadOnly = mounts.some(({ target, options }) => target === '/' && options.includes('ro'))
  const hasOwnBoot = mounts.some(({ target, type }) => target === '/boot' && type !== 'btrfs')
  const program = findProgram(files, 'transactional-update')
  return isReadOnly && !hasOwnBoot && program !== undefined && findProgram(files, 'sdbootutil') === undefined
}
