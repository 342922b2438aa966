import type { Reader } from './reader.ts'
import { readLines, unescapeOctal } from './readings.ts'

/** One line of /proc/self/mountinfo. */
export interface Mount {
  /** The device number: `259:2`; btrfs, ZFS and other file systems of several devices have an anonymous one, `0:31`. */
  number: string
  /** The folder of the file system that is mounted: `/`, `/@/.snapshots/1/snapshot`. */
  folder: string
  point: string
  type: string
  /** The source: `/dev/nvme0n1p2`, `rpool/ROOT`; without symbolic links where the machine has them. */
  source: string
}

/**
 * Returns the mounts in the order of mounting; `undefined` when the tree does not say. Source: proc_pid_mountinfo(5).
 */
export function readMounts(reader: Reader): Mount[] | undefined {
  return readLines(reader, '/proc/self/mountinfo')?.flatMap((line) => {
    const fields = line.split(' ')
    const dash = fields.indexOf('-', 6)
    const [number, folder = '', point, type, source] = [...fields.slice(2, 5), fields[dash + 1], fields[dash + 2]]
    if (dash < 0 || !number || !point || !type || source === undefined) return []
    const at = { folder: unescapeOctal(folder), point: unescapeOctal(point) }
    return [{ number, ...at, type, source: realNode(reader, unescapeOctal(source)) }]
  })
}

/** Returns the mount that a path lies on: the last of those with the longest mount point. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  const above = mounts.filter(({ point }) => point === '/' || `${path}/`.startsWith(`${point}/`))
  const longest = Math.max(...above.map(({ point }) => point.length))
  return above.filter(({ point }) => point.length === longest).at(-1)
}

/** Returns the device files that are swapped to; `undefined` when the tree does not say. Source: proc_swaps(5). */
export function readSwaps(reader: Reader): string[] | undefined {
  const [head, ...lines] = readLines(reader, '/proc/swaps') ?? []
  if (head === undefined) return undefined
  return lines.flatMap((line) => {
    const [file = '', type] = line.split(/\s+/)
    return type === 'partition' ? [realNode(reader, unescapeOctal(file))] : []
  })
}

/**
 * Returns a device node without symbolic links, where the machine's /dev can be seen: `/dev/mapper/vg-root` →
 * `/dev/dm-0`.
 */
export function realNode(reader: Reader, node: string): string {
  return (node.startsWith('/dev/') && reader.resolve(node)) || node
}

/** One line of /etc/fstab or /etc/crypttab that names a device. */
export interface TableEntry {
  table: string
  /** The device: `UUID=…`, `PARTUUID=…`, `LABEL=…`, `PARTLABEL=…`, or a path. */
  device: string
  /** The mount point, or the name of the opened volume. */
  target: string
  /** The file system's type in fstab; `crypt` in crypttab. */
  type: string
  options: string[]
}

/** Returns the lines of /etc/fstab. Source: fstab(5). */
export function readFstab(files: Reader): TableEntry[] {
  return readTable(files, '/etc/fstab').map(([device = '', target = '', type = '', options = '']) => ({
    table: '/etc/fstab',
    device: plainSpec(device),
    target: unescapeOctal(target),
    type,
    options: options.split(','),
  }))
}

/** Returns the lines of /etc/crypttab and of the table that mkinitcpio's sd-encrypt reads. Source: crypttab(5). */
export function readCrypttab(files: Reader): TableEntry[] {
  return ['/etc/crypttab', '/etc/crypttab.initramfs'].flatMap((table) =>
    readTable(files, table).map(([target = '', device = '', , options = '']) => ({
      table,
      device: plainSpec(device),
      target,
      type: 'crypt',
      options: options.split(','),
    })),
  )
}

function readTable(files: Reader, path: string): string[][] {
  return (readLines(files, path) ?? [])
    .map((line) => line.trim().split(/\s+/))
    .filter(([first]) => !/^(#|$)/.test(first ?? ''))
}

/** Returns the tag that names a device: `/dev/disk/by-uuid/X` and `UUID="X"` → `UUID=X`. */
function plainSpec(text: string): string {
  const [, kind, value] = /^\/dev\/disk\/by-(uuid|partuuid|label|partlabel)\/(.*)$/.exec(text) ?? []
  const spec = kind === undefined ? text.replace(/"/g, '') : `${kind.toUpperCase()}=${value}`
  return unescapeOctal(spec)
}
