import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import type { Reader, TreeEntry } from '../host/reader.ts'
import type { Change } from './plan.ts'
import { runCommand } from './run.ts'
import { removeQuietly } from './write.ts'
import { writeTree } from './write-tree.ts'

const NETPLAN = '/usr/sbin/netplan'
/** The folders that netplan reads. Source: netplan(5). */
const FOLDERS = ['/etc/netplan', '/run/netplan', '/lib/netplan', '/usr/lib/netplan']

/**
 * Runs netplan on the files that would be written, in a temporary folder: whatever it refuses here, the next boot would
 * refuse too, and the host would have no network. `own`: a reader on this machine, whose netplan is run.
 * Throws a UserError with code `refused`, or `unwritable` for the folder.
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
  // A name that nobody can guess and put a link at.
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
