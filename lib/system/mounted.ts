import { UserError } from '../core/error.ts'
import { mountOf, readFstab, readMounts } from '../host/mounts.ts'
import type { Reader } from '../host/reader.ts'

/** The mount points that may hold the journal, the kernels, or the files that boot them. */
const REQUIRED_MOUNTS = /^\/(var(\/lib)?|boot(\/efi)?|efi)$/
const VOLATILE = /^(tmpfs|ramfs)$/

/**
 * Checks that all that fstab(5) mounts at /var, /boot and the ESP is mounted: otherwise the journal would be looked for
 * in an empty folder, and images be written into one. `root`: the path of the system in `own`, the running machine.
 * Throws a UserError with code `not-mounted`, or `journal-volatile` where the journal would be lost at the next boot.
 */
export function expectMounted(files: Reader, own: Reader, root: string): void {
  const prefix = root === '/' ? '' : root
  const mounts = readMounts(own)
  if (mounts === undefined) return
  const points = new Set(mounts.map(({ point }) => point))
  for (const { target, options } of readFstab(files)) {
    if (!REQUIRED_MOUNTS.test(target) || options.includes('noauto') || points.has(prefix + target)) continue
    throw new UserError('not-mounted', `${prefix}${target}: is in fstab and not mounted; mount it, then run this again`)
  }
  const journal = mountOf(mounts, `${prefix}/var/lib/vfio-scripts`)
  if (root === '/' && journal !== undefined && VOLATILE.test(journal.type))
    throw new UserError(
      'journal-volatile',
      `${journal.point}: is ${journal.type}, which forgets the journal with the next boot`,
    )
}
