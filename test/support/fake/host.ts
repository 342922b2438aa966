// What a host does with its devices, put into the files of a fake machine: drives, interfaces, processes, keyboards.
import type { Machine } from '../machine.ts'
import { placeDevices } from './place.ts'

/** `/sys/devices/pci0000:00/…` of a device. */
export function folderOf(machine: Machine, address: string): string {
  const placed = placeDevices(machine).get(address)
  if (placed === undefined) throw new Error(`${address} is not in the machine`)
  return `/${placed.path}`
}

export function addFiles(machine: Machine, files: Record<string, string | Buffer>): void {
  machine.files = { ...machine.files, ...files }
}

export function addLinks(machine: Machine, links: Record<string, string>): void {
  machine.links = { ...machine.links, ...links }
}

/** Adds to a file, line by line. */
function append(machine: Machine, path: string, line: string, head = ''): void {
  addFiles(machine, { [path]: `${machine.files?.[path] ?? head}${line}\n` })
}

export interface FakeBlock {
  /** its folder's parent [/sys/devices/virtual/block] */
  under?: string
  /** `259:2` */
  number: string
  /** udev's properties; without them udev has no record */
  udev?: Record<string, string>
  dm?: { name: string; uuid: string }
  holders?: string[]
  slaves?: string[]
  partition?: boolean
}

export function addBlock(machine: Machine, name: string, block: FakeBlock): void {
  const path = `${block.under ?? '/sys/devices/virtual/block'}/${name}`
  const files: Record<string, string> = {
    [`${path}/dev`]: `${block.number}\n`,
    [`${path}/uevent`]: `DEVNAME=${name}\n`,
  }
  if (block.udev !== undefined) {
    const lines = Object.entries(block.udev).map(([key, value]) => `E:${key}=${value}\n`)
    files[`/run/udev/data/b${block.number}`] = `S:disk/by-path/x\n${lines.join('')}V:1\n`
  }
  if (block.dm !== undefined) {
    files[`${path}/dm/name`] = `${block.dm.name}\n`
    files[`${path}/dm/uuid`] = `${block.dm.uuid}\n`
  }
  if (block.partition === true) files[`${path}/partition`] = '1\n'
  for (const holder of block.holders ?? []) files[`${path}/holders/${holder}`] = ''
  for (const slave of block.slaves ?? []) files[`${path}/slaves/${slave}`] = ''
  addFiles(machine, files)
  addLinks(machine, {
    [`/sys/class/block/${name}`]: `../..${path.slice(4)}`,
    [`/sys/dev/block/${block.number}`]: `../..${path.slice(4)}`,
  })
}

/** A drive: nvme0n1 with partitions 1 to n, numbers 259:1 and up, whose folders it gives. */
export function addNvme(machine: Machine, address: string, partitions: Omit<FakeBlock, 'number' | 'under'>[]): void {
  const under = `${folderOf(machine, address)}/nvme/nvme0`
  addBlock(machine, 'nvme0n1', { under, number: '259:0', udev: {} })
  for (const [index, partition] of partitions.entries()) {
    const block = { udev: {}, partition: true, ...partition, under: `${under}/nvme0n1`, number: `259:${index + 1}` }
    addBlock(machine, `nvme0n1p${index + 1}`, block)
  }
  addNode(machine, address, '240:0', 'nvme0', 'nvme/nvme0')
  addFiles(machine, { '/proc/swaps': 'Filename\tType\tSize\tUsed\tPriority\n' })
}

export function addMount(machine: Machine, number: string, point: string, type: string, source: string): void {
  append(machine, '/proc/self/mountinfo', `36 1 ${number} / ${point} rw,relatime shared:1 - ${type} ${source} rw`)
}

/** A character device below a PCI device. */
export function addNode(machine: Machine, address: string, number: string, name: string, below: string): void {
  const path = `${folderOf(machine, address)}/${below}`
  const [major, minor] = number.split(':')
  addFiles(machine, { [`${path}/uevent`]: `MAJOR=${major}\nMINOR=${minor}\nDEVNAME=${name}\n` })
  addLinks(machine, { [`/sys/dev/char/${number}`]: `../..${path.slice(4)}` })
}

/** A process and what its descriptors lead to. Process 1 is always there. */
export function addProcess(machine: Machine, pid: number, name: string, open: string[]): void {
  addFiles(machine, { '/proc/1/comm': 'systemd\n', [`/proc/${pid}/comm`]: `${name}\n` })
  addLinks(machine, { '/proc/1/fd/0': '/dev/null' })
  for (const [fd, target] of open.entries()) addLinks(machine, { [`/proc/${pid}/fd/${fd}`]: target })
}

/** An interface of a PCI device, or a virtual one; `over` are the interfaces it rests on. */
export function addInterface(
  machine: Machine,
  name: string,
  options: { address?: string; over?: string[]; up?: boolean },
): void {
  const { address, over = [], up = true } = options
  const under = address === undefined ? '/sys/devices/virtual' : folderOf(machine, address)
  const path = `${under}/net/${name}`
  addFiles(machine, { [`${path}/flags`]: up ? '0x1003\n' : '0x1002\n', [`${path}/operstate`]: 'up\n' })
  addLinks(machine, { [`/sys/class/net/${name}`]: `../..${path.slice(4)}` })
  for (const lower of over) {
    const lowerPath = `/sys${machine.links?.[`/sys/class/net/${lower}`]?.slice('../..'.length)}`
    addLinks(machine, {
      [`${path}/lower_${lower}`]: `/sys/class/net/${lower}`,
      [`${lowerPath}/upper_${name}`]: `/sys/class/net/${name}`,
    })
  }
}

const ROUTES = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n'

/** `10.0.0.0/8` by a device; `0.0.0.0/0` is the default route. */
export function addRoute(machine: Machine, destination: string, device: string, metric = 100): void {
  const [address = '', length = '0'] = destination.split('/')
  const mask = Number(length) === 0 ? 0 : (0xffffffff << (32 - Number(length))) >>> 0
  const dotted = [24, 16, 8, 0].map((shift) => (mask >>> shift) & 255).join('.')
  append(
    machine,
    '/proc/net/route',
    `${device}\t${memory(address)}\t00000000\t0003\t0\t0\t${metric}\t${memory(dotted)}\t0\t0\t0`,
    ROUTES,
  )
}

/** `192.168.1.7` as a little-endian machine shows it: `0701A8C0`. */
export function memory(address: string): string {
  const bytes = address.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0').toUpperCase())
  return bytes.reverse().join('')
}

/** An established connection: both ends as /proc/net/tcp and tcp6 have them. */
export function addConnection(
  machine: Machine,
  table: 'tcp' | 'tcp6',
  ends: [local: string, peer: string],
  inode: number,
): void {
  const line = `   0: ${ends[0]} ${ends[1]} 01 00000000:00000000 02:000A 00000000     0        0 ${inode} 4 0000000000000000 20 4 0`
  append(
    machine,
    `/proc/net/${table}`,
    line,
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n',
  )
}

const KEYS = '1000000000007 ff9f207ac14057ff febeffdfffefffff fffffffffffffffe'

/** A keyboard below a folder of /sys/devices, or something with one button. */
export function addInput(machine: Machine, name: string, path: string, keys = KEYS): void {
  append(
    machine,
    '/proc/bus/input/devices',
    `I: Bus=0003 Vendor=413c Product=2113 Version=0111\nN: Name="${name}"\nP: Phys=x\nS: Sysfs=${path}\nU: Uniq=\nH: Handlers=sysrq kbd event3 leds \nB: PROP=0\nB: EV=120013\nB: KEY=${keys}\n`,
  )
}
