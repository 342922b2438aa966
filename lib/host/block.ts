import { type Mount, readCrypttab, readFstab, readMounts, readSwaps, realNode, type TableEntry } from './mounts.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { deviceAbove, type Unreadable } from './readings.ts'

/** A block device, its uses, and the volumes that were built on top of it. */
export interface Volume {
  /** The name in sysfs: `nvme0n1p2`, `dm-0`. */
  name: string
  /** The device node: `/dev/nvme0n1p2`, `/dev/mapper/vg-root`. */
  node: string
  /** The layer that made it; `null` for disks and partitions. */
  kind: 'LVM' | 'LUKS' | 'dm-crypt' | 'multipath' | 'RAID' | 'bcache' | 'DRBD' | 'device mapper' | null
  /** The signature that udev found on it (blkid's TYPE): `ext4`, `LVM2_member`; `null` without an answer. */
  signature: string | null
  label: string | null
  /** The mount points, the shortest first. */
  mounts: string[]
  swap: boolean
  /** The lines of fstab and crypttab that name it. */
  tables: TableEntry[]
  /** Did the firmware load the boot loader of this boot from here? */
  booted: boolean
  /** The volumes on top of it: device mapper, RAID, bcache. */
  volumesOnTop: Volume[]
}

export interface Storage {
  /** The block devices that the selected devices carry; each partition is an entry of its own. */
  disks: { address: string; volume: Volume }[]
  unseen: Unreadable[]
}

const BLOCK = '/sys/class/block'
// Mass storage, SD host controllers, serial buses (USB): the classes that may carry a disk when the tree does not say.
const CARRIERS = /^(01|0805|0c)/
/** The EFI variable that names the boot loader's partition. Source: https://systemd.io/BOOT_LOADER_INTERFACE/ */
const LOADER_PARTITION = '/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

/**
 * Reads the block devices below the selected devices and their uses. When there are none, only /sys/class/block is
 * read.
 * Source: Documentation/ABI/stable/sysfs-block, udev's database (systemd, src/libsystemd/sd-device).
 */
export function readStorage(reader: Reader, files: Reader, selected: readonly PciDevice[]): Storage {
  const names = reader.list(BLOCK)
  if (names === undefined) {
    const carries = selected.some((device) => CARRIERS.test(device.class.id))
    return { disks: [], unseen: carries ? [{ what: `${BLOCK} is not there`, root: false }] : [] }
  }
  const own = names.flatMap((name) => carriersOf(reader, name, selected).map(({ address }) => ({ address, name })))
  return own.length === 0 ? { disks: [], unseen: [] } : readVolumes(reader, files, own)
}

/** Reads a block device that is named by its path, its partitions, and their uses; `address` is then that path. */
export function readDiskUsage(reader: Reader, files: Reader, path: string): Storage {
  const at = reader.resolve(`${BLOCK}/${(files.resolve(path) ?? path).replace(/^.*\//, '')}`)
  if (at === undefined) return { disks: [], unseen: [{ what: `${path} in ${BLOCK}`, root: false }] }
  const own = (reader.list(BLOCK) ?? []).filter((name) => `${reader.resolve(`${BLOCK}/${name}`)}/`.startsWith(`${at}/`))
  return readVolumes(
    reader,
    files,
    own.map((name) => ({ address: path, name })),
  )
}

function readVolumes(reader: Reader, files: Reader, own: readonly { address: string; name: string }[]): Storage {
  const mounts = readMounts(reader)
  const swaps = readSwaps(reader)
  const unreadable: Unreadable[] = []
  if (mounts === undefined) unreadable.push({ what: 'what is mounted (/proc/self/mountinfo)', root: false })
  if (swaps === undefined) unreadable.push({ what: 'what is swapped to (/proc/swaps)', root: false })
  const used: UsageTables = {
    mounts: mounts ?? [],
    swaps: swaps ?? [],
    tables: [...readFstab(files), ...readCrypttab(files)].map((entry) => ({
      ...entry,
      device: realNode(reader, entry.device),
    })),
    btrfs: (mounts ?? []).some((mount) => mount.type === 'btrfs') ? readBtrfs(reader, mounts ?? []) : new Map(),
    loader: loaderPartition(reader),
  }
  const disks = own.flatMap(({ address, name }) => {
    const volume = readVolume(reader, name, used, unreadable, 0)
    return volume === undefined ? [] : [{ address, volume }]
  })
  return { disks, unseen: unreadable }
}

interface UsageTables {
  mounts: readonly Mount[]
  swaps: readonly string[]
  tables: readonly TableEntry[]
  /** The mount points of a btrfs, by the name of each member. */
  btrfs: ReadonlyMap<string, string[]>
  loader: string | undefined
}

/**
 * Returns the selected devices that a block device is below. With native NVMe multipath the disk is below a virtual
 * subsystem, whose controllers are links (drivers/nvme/host/multipath.c).
 */
function carriersOf(reader: Reader, name: string, selected: readonly PciDevice[]): PciDevice[] {
  const path = reader.resolve(`${BLOCK}/${name}`)
  if (path === undefined) return []
  const subsystem = /^.*\/nvme-subsystem\/[^/]+(?=\/)/.exec(path)?.[0]
  const paths =
    subsystem === undefined
      ? [path]
      : (reader.list(subsystem) ?? [])
          .filter((entry) => /^nvme\d+$/.test(entry))
          .map((entry) => `${reader.resolve(`${subsystem}/${entry}`)}/`)
  return [...new Set(paths.map((each) => deviceAbove(each, selected)).filter((device) => device !== undefined))]
}

function readVolume(
  reader: Reader,
  name: string,
  used: UsageTables,
  unreadable: Unreadable[],
  depth: number,
): Volume | undefined {
  const path = `${BLOCK}/${name}`
  const number = reader.text(`${path}/dev`)
  // Hidden disks (one path of an NVMe multipath disk) have no number and no node.
  if (number === undefined || depth > 16) return undefined
  const device = `/dev/${name.replaceAll('!', '/')}`
  const mapper = name.startsWith('dm-') ? reader.text(`${path}/dm/name`) : undefined
  const node = mapper === undefined ? device : `/dev/mapper/${mapper}`
  const udev = readUdev(reader, `b${number}`)
  if (udev === undefined) unreadable.push({ what: `what is on ${node} (udev's database)`, root: false })
  const label = udev?.get('ID_FS_LABEL') ?? null
  const partition = udev?.get('ID_PART_ENTRY_UUID') ?? /^PARTUUID=(.*)$/m.exec(reader.text(`${path}/uevent`) ?? '')?.[1]
  const called = new Set([device, node, ...deviceSpecs(udev, partition)].map((spec) => spec.toLowerCase()))
  const signature = udev?.get('ID_FS_TYPE') ?? null
  const mounts = used.mounts.filter(
    (mount) =>
      mount.number === number ||
      mount.source.split(':').some((source) => source === device || source === node) ||
      (signature === 'zfs_member' && mount.type === 'zfs' && mount.source.split('/')[0] === label),
  )
  return {
    name,
    node,
    kind: kindOf(name, mapper === undefined ? undefined : reader.text(`${path}/dm/uuid`)),
    signature,
    label,
    mounts: [...new Set([...mounts.map(({ point }) => point), ...(used.btrfs.get(name) ?? [])])].sort(byLength),
    swap: used.swaps.some((swap) => swap === device || swap === node),
    tables: used.tables.filter((entry) => called.has(entry.device.toLowerCase())),
    booted: used.loader !== undefined && used.loader === partition?.toLowerCase(),
    volumesOnTop: (reader.list(`${path}/holders`) ?? [])
      .map((holder) => readVolume(reader, holder, used, unreadable, depth + 1))
      .filter((holder) => holder !== undefined),
  }
}

/** Orders `/` before `/boot` before `/var/lib/containers/…`. */
function byLength(one: string, other: string): number {
  return one.length - other.length || (one < other ? -1 : 1)
}

function deviceSpecs(udev: ReadonlyMap<string, string> | undefined, partition: string | undefined): string[] {
  const named = { UUID: 'ID_FS_UUID', LABEL: 'ID_FS_LABEL', PARTLABEL: 'ID_PART_ENTRY_NAME' }
  const found = Object.entries(named).flatMap(([tag, key]) => (udev?.has(key) ? [`${tag}=${udev.get(key)}`] : []))
  return partition === undefined ? found : [...found, `PARTUUID=${partition}`]
}

/**
 * Returns the layer that made a volume. For the device mapper the prefix of the UUID tells it (libdevmapper, DM_UUID).
 */
function kindOf(name: string, uuid: string | undefined): Volume['kind'] {
  if (/^md\d|^md_/.test(name)) return 'RAID'
  if (name.startsWith('bcache')) return 'bcache'
  if (name.startsWith('drbd')) return 'DRBD'
  if (!name.startsWith('dm-')) return null
  if (/^LVM-/.test(uuid ?? '')) return 'LVM'
  if (/^CRYPT-LUKS/.test(uuid ?? '')) return 'LUKS'
  if (/^CRYPT-/.test(uuid ?? '')) return 'dm-crypt'
  if (/^(part\d+-)?mpath-/.test(uuid ?? '')) return 'multipath'
  return /^(part\d+-)?DMRAID-/.test(uuid ?? '') ? 'RAID' : 'device mapper'
}

/** Reads the properties (`E:KEY=value`) that udev keeps of a device, which is given as `b259:2` or `c13:64`. */
function readUdev(reader: Reader, id: string): Map<string, string> | undefined {
  const text = reader.optionalText(`/run/udev/data/${id}`)
  if (text === undefined) return undefined
  return new Map([...text.matchAll(/^E:([^=\n]+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value]))
}

/** Finds every device of a mounted btrfs; the mount table names one (Documentation/filesystems/btrfs, sysfs). */
function readBtrfs(reader: Reader, mounts: readonly Mount[]): Map<string, string[]> {
  const found = new Map<string, string[]>()
  const mounted = mounts.filter((mount) => mount.type === 'btrfs')
  for (const id of reader.list('/sys/fs/btrfs') ?? []) {
    const members = reader.list(`/sys/fs/btrfs/${id}/devices`) ?? []
    const nodes = members.flatMap((name) => {
      const mapper = name.startsWith('dm-') ? reader.text(`${BLOCK}/${name}/dm/name`) : undefined
      return mapper === undefined ? [`/dev/${name}`] : [`/dev/${name}`, `/dev/mapper/${mapper}`]
    })
    // Without an initramfs the root's source is /dev/root, whatever device it is.
    const own = mounted.filter(({ source }) => nodes.includes(source) || source === '/dev/root')
    for (const name of members)
      found.set(
        name,
        own.map(({ point }) => point),
      )
  }
  return found
}

/** Reads the partition that the boot loader came from. The variable holds four bytes of attributes, then UTF-16. */
function loaderPartition(reader: Reader): string | undefined {
  const value = reader.optionalBytes(LOADER_PARTITION)?.subarray(4).toString('utf16le')
  return value?.replace(/\0+$/, '').toLowerCase()
}
