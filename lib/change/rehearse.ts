import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import type { Reader, TreeEntry } from '../host/reader.ts'
import type { Change } from './plan.ts'
import { runCommand } from './run.ts'
import { removeQuietly } from './write.ts'
import { writeTree } from './write-tree.ts'

const NETPLAN = '/usr/sbin/netplan'
/** All that netplan reads. Source: netplan(5). */
const FOLDERS = ['/etc/netplan', '/run/netplan', '/lib/netplan', '/usr/lib/netplan']

/**
 * Has netplan make its files of what would be written, in a folder of its own, which goes again: what it refuses, the
 * next boot would refuse too, and the host would be without network. `own`: this machine, whose program it is.
 * Throws a UserError, code `refused`.
 */
export async function rehearseNetplan(own: Reader, files: Reader, changes: readonly Change[]): Promise<void> {
  const written = changes.flatMap((change) => (change.kind === 'file' ? [change] : []))
  if (!written.some(({ path }) => path.startsWith('/etc/netplan/')) || !own.exists(NETPLAN)) return
  const tree = new Map<string, TreeEntry>()
  for (const folder of FOLDERS)
    for (const name of files.list(folder) ?? []) {
      const file = name.endsWith('.yaml') ? files.bytes(`${folder}/${name}`) : undefined
      if (file !== undefined) tree.set(`${folder}/${name}`, { file })
    }
  for (const { path, after } of written) {
    tree.delete(path)
    if (after !== null && path.startsWith('/etc/netplan/')) tree.set(path, { file: Buffer.from(after, 'latin1') })
  }
  const { randomUUID } = await import('node:crypto')
  // A name that nobody can have put a link at.
  const folder = `/tmp/vfio-scripts-${randomUUID()}`
  writeTree('/', folder, tree)
  try {
    const ran = await runCommand([NETPLAN, 'generate', '--root-dir', folder], { root: '/', seconds: 60 })
    if (ran.code === 0) return
    const said = ran.output
      .replaceAll(folder, '')
      .split('\n')
      .filter((line) => line.trim() !== '' && !/too open/.test(line))
    throw new UserError('refused', `netplan generate refuses what would be written: ${said.join(' | ')}; nothing was`)
  } finally {
    removeQuietly('/', folder)
  }
}
