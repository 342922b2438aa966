import { accountText } from './accounts.ts'
import type { Reader } from './reader.ts'
import { mayAccess } from './user.ts'

/** The facts about a file or block device that a guest gets. */
export interface DiskImage {
  /** The path as it was given. */
  path: string
  kind: 'file' | 'block' | 'absent'
  /** The format by the first bytes: qcow2, or raw for anything else. */
  format: 'raw' | 'qcow2'
}

/**
 * Reads the facts about a disk image. `reader` is the machine: a capture knows its disks by name, without their nodes.
 */
export function readDiskImage(files: Reader, reader: Reader, path: string): DiskImage {
  const node = files.resolve(path)
  const access = node === undefined ? undefined : files.access(node)
  if (access?.block || reader.exists(`/sys/class/block/${(node ?? path).replace(/^.*\//, '')}`))
    return { path, kind: 'block', format: 'raw' }
  if (access === undefined) return { path, kind: 'absent', format: /\.qcow2$/.test(path) ? 'qcow2' : 'raw' }
  // A folder has no bytes, and an input device gives none before a key is pressed.
  if (files.size(path) === undefined) return { path, kind: 'file', format: 'raw' }
  // The magic of qcow2. Source: docs/interop/qcow2.txt in QEMU.
  const magic = files.optionalBytes(path, 4)?.toString('latin1')
  return { path, kind: 'file', format: magic === 'QFI\u00fb' ? 'qcow2' : 'raw' }
}

const SECTOR = 2048

/**
 * Does an ISO image boot by UEFI: has its El Torito catalog an entry of platform 0xEF? `null`: it is no ISO 9660 file
 * system, or is not readable. Source: El Torito 1.0, UEFI specification 13.3.2.1.
 */
export function bootsByEfi(files: Reader, path: string): boolean | null {
  const head = files.optionalBytes(path, 18 * SECTOR)
  if (head === undefined || head.toString('latin1', 16 * SECTOR + 1, 16 * SECTOR + 6) !== 'CD001') return null
  const record = head.subarray(17 * SECTOR)
  if (record.toString('latin1', 7, 30) !== 'EL TORITO SPECIFICATION') return false
  const at = record.readUInt32LE(0x47) * SECTOR
  // Catalogs stand near the front; a later one is not worth the reading.
  if (at > 64 * 1024 * 1024) return null
  const catalog = files.optionalBytes(path, at + SECTOR)?.subarray(at)
  if (catalog === undefined || catalog.length < 64) return null
  if (catalog[1] === 0xef) return true
  for (let entry = 64; entry + 32 <= catalog.length; entry += 32) {
    const kind = catalog[entry]
    if ((kind === 0x90 || kind === 0x91) && catalog[entry + 1] === 0xef) return true
  }
  return false
}

/** Returns the SCSI address of `/dev/sr0` or `/dev/sg1` (`2:0:0:0`); `undefined` when it is no SCSI device. */
export function scsiAddress(reader: Reader, path: string): number[] | undefined {
  const name = (reader.resolve(path) ?? path).replace(/^.*\//, '')
  for (const folder of ['block', 'scsi_generic']) {
    const at = reader.resolve(`/sys/class/${folder}/${name}/device`)
    const address = /\/(\d+):(\d+):(\d+):(\d+)$/.exec(at ?? '')
    if (address !== null) return address.slice(1).map(Number)
  }
  return undefined
}

/**
 * Returns the user that QEMU runs as under libvirt's system daemon: the one that qemu.conf sets, else the
 * distributions' own.
 */
export function libvirtUser(files: Reader): { name: string; uid: number; gids: number[] } | undefined {
  const conf = files.optionalText('/etc/libvirt/qemu.conf') ?? ''
  const set = /^\s*user\s*=\s*"\+?([^"]+)"/m.exec(conf)?.[1]
  const passwd = accountText(files, 'passwd') ?? ''
  for (const name of set === undefined ? ['libvirt-qemu', 'qemu'] : [set]) {
    const line = passwd.split('\n').find((each) => each.startsWith(`${name}:`) || each.split(':')[2] === name)
    const [user, , uid, gid] = line?.split(':') ?? []
    if (user === undefined) continue
    const groups = (accountText(files, 'group') ?? '').split('\n').map((each) => each.split(':'))
    const more = groups.filter(([, , , members]) => members?.split(',').includes(user)).map(([, , id]) => Number(id))
    return { name: user, uid: Number(uid), gids: [Number(gid), ...more] }
  }
  return undefined
}

/**
 * Returns the first folder above a file that a user may not pass; `undefined` when all are open. libvirt gives the file
 * itself to its user when a guest starts, but no folder.
 */
export function closedFolder(files: Reader, path: string, user: { uid: number; gids: number[] }): string | undefined {
  if (user.uid === 0) return undefined
  const parts = path.split('/').slice(1, -1)
  return parts
    .map((_, index) => `/${parts.slice(0, index + 1).join('/')}`)
    .find((folder) => {
      const access = files.access(folder)
      return access !== undefined && !mayAccess(access, user, 0o1)
    })
}
