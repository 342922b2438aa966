import { Buffer } from 'node:buffer'
import { openAddresses } from './addresses.ts'
import { type CaptureMasks, maskFile } from './capture-files.ts'
import type { Machine } from './machine.ts'
import { openPseudonyms } from './pseudonyms.ts'
import type { TreeEntry } from './reader.ts'

/**
 * Returns what was read of a machine, as a tree to write: path → file, link or folder. Large tables are cut to the
 * lines that were used. Stable pseudonyms replace everything that identifies a machine or a person (serial numbers, MAC
 * addresses, UUIDs, host names, public addresses), and every value that may be a secret.
 */
export function captureTree({
  reader,
  deviceNames: databases,
  modules,
  programOutput,
}: Machine): Map<string, TreeEntry> {
  const excerpts = new Map(
    // The file's own path replaces the link by which it was found: /lib is a link to usr/lib almost everywhere.
    [...databases.excerpts(), ...modules.excerpts()].map(([path, text]) => [reader.resolve(path) ?? path, text]),
  )
  const names = openPseudonyms()
  const hostname = hostnameMask(reader.optionalText('/proc/sys/kernel/hostname')?.trim() ?? '')
  const carrier: CaptureMasks = { names, hostname, addresses: openAddresses() }
  const seen = new Map(reader.recording)
  for (const [path, text] of programOutput) seen.set(path, { file: Buffer.from(text) })
  // These files hold names of people and machines.
  for (const path of ['/proc/sys/kernel/hostname', '/etc/passwd', '/etc/group']) seen.delete(path)
  for (const path of reader.recording.keys()) {
    // The excerpt, which is plain text, replaces the whole database.
    if (path.endsWith('.gz') && excerpts.has(path.slice(0, -3))) seen.delete(path)
  }
  for (const path of excerpts.keys()) seen.delete(path)
  const tree = new Map<string, TreeEntry>()
  const rename = (path: string): string => names.rename(path.startsWith('/dev/') ? hostname(path) : path)
  const sorted = [...seen].sort(([one], [other]) => (one < other ? -1 : 1))
  // Two passes: a secret that one file reveals may stand in a file that came before it.
  for (const [path, entry] of [...sorted, ...sorted]) {
    if ('link' in entry) tree.set(rename(path), { link: rename(maskOpenFile(path, entry.link)) })
    else if ('folder' in entry) tree.set(rename(path), { folder: entry.folder.map(rename) })
    else tree.set(rename(path), { file: maskFile(path, entry.file, carrier) })
  }
  for (const [path, text] of excerpts) tree.set(path, { file: Buffer.from(text) })
  return tree
}

/** Hides which files a process has open, unless they are devices or sockets. */
function maskOpenFile(path: string, target: string): string {
  return /^\/proc\/\d+\/fd\//.test(path) && !/^(\/dev\/|socket:)/.test(target) ? 'file' : target
}

/** Host names that do not tell whose machine it is, and may stand anywhere. */
const COMMON =
  /^(localhost|linux|host|server|desktop|laptop|root|debian|ubuntu|fedora|arch(linux)?|gentoo|nixos|void|alpine|opensuse|suse|proxmox|pve|.{0,2})$/i

function hostnameMask(hostname: string): (text: string) => string {
  const [short = ''] = hostname.split('.')
  if (COMMON.test(short)) return (text) => text
  const pattern = new RegExp(`(?<![A-Za-z0-9])${short.replace(/[^\w-]/g, '\\$&')}(?:\\.[\\w.-]+)?(?![A-Za-z0-9])`, 'gi')
  return (text) => text.replace(pattern, 'host-1')
}
