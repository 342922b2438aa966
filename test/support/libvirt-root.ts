// The root of a current system, for its libvirt: made by test/support/libvirt-root.sh.
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Where it is, or would be. */
export function currentRoot(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache')
  return process.env.VFIO_LIBVIRT_ROOT ?? join(cache, 'vfio-scripts-libvirt')
}
