import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { deviceAbove, type Unreadable, unlessDenied } from './readings.ts'

/** A process that has a device node or a socket open. */
interface OpenFile {
  /** The text of the link in /proc/PID/fd: `/dev/dri/card0`, `socket:[4711]`. */
  target: string
  pid: number
  /** The process's comm, 15 characters at most. */
  process: string
}

export interface OpenFiles {
  found: OpenFile[]
  unseen: Unreadable[]
}

/** A device node and the device that it belongs to. */
export interface DeviceNode {
  node: string
  address: string
}

/**
 * Returns the character devices below the selected devices, the VFIO nodes of their IOMMU groups, and NVIDIA's own
 * nodes, which are not in sysfs.
 * Source: Documentation/ABI/testing/sysfs-dev; nodes carry the name that uevent has (devtmpfs).
 */
export function readDeviceNodes(reader: Reader, selected: readonly PciDevice[]): DeviceNode[] {
  const nodes: DeviceNode[] = []
  for (const number of reader.list('/sys/dev/char') ?? []) {
    // The text of the link is the path in /sys/devices, so that the folders on the way need not be read.
    const target = reader.link(`/sys/dev/char/${number}`)?.replace(/^(?:\.\.\/)+/, '/sys/')
    if (target === undefined) continue
    const [, noiommu = '', group] = /^\/sys\/devices\/virtual\/vfio\/(noiommu-)?(\d+)$/.exec(target) ?? []
    if (group !== undefined) {
      const members = selected.filter((device) => device.group === Number(group))
      nodes.push(...members.map(({ address }) => ({ node: `/dev/vfio/${noiommu}${group}`, address })))
      continue
    }
    const owner = deviceAbove(target, selected)
    const name = owner && /^DEVNAME=(.*)$/m.exec(reader.text(`${target}/uevent`) ?? '')?.[1]
    if (owner !== undefined && name !== undefined) nodes.push({ node: `/dev/${name}`, address: owner.address })
  }
  return [...nodes, ...nvidiaNodes(reader, selected)]
}

/**
 * Returns the nodes of NVIDIA's driver. `Device Minor:` of /proc/driver/nvidia/gpus/ADDRESS/information names
 * /dev/nvidiaN; the others serve every card.
 */
function nvidiaNodes(reader: Reader, selected: readonly PciDevice[]): DeviceNode[] {
  return selected
    .filter((device) => device.driver === 'nvidia')
    .flatMap(({ address }) => {
      const information = reader.optionalText(`/proc/driver/nvidia/gpus/${address}/information`)
      const minor = /^Device Minor:\s*(\d+)/m.exec(information ?? '')?.[1]
      const names = ['nvidiactl', 'nvidia-uvm', 'nvidia-modeset']
      // Its number is not known: any of them may be this card.
      const own = minor === undefined ? Array.from({ length: 32 }, (_, n) => `nvidia${n}`) : [`nvidia${minor}`]
      return [...own, ...names].map((name) => ({ node: `/dev/${name}`, address }))
    })
}

/**
 * Finds the processes that hold any of these open. It takes a pass over /proc, the most expensive reading of all, which
 * is made only when there is something to look for. Source: proc_pid_fd(5).
 */
export function readOpenFiles(reader: Reader, required: ReadonlySet<string>): OpenFiles {
  if (required.size === 0) return { found: [], unseen: [] }
  const pids = (reader.list('/proc') ?? []).filter((name) => /^\d+$/.test(name))
  const found: OpenFile[] = []
  let denied = 0
  for (const pid of pids) {
    const folder = `/proc/${pid}/fd`
    const targets = new Set<string>()
    const open = unlessDenied(
      reader,
      () => {
        for (const fd of reader.list(folder) ?? []) {
          const target = reader.link(`${folder}/${fd}`)
          if (target === undefined) continue
          const name = target.endsWith(' (deleted)') ? target.slice(0, -' (deleted)'.length) : target
          if (required.has(name)) targets.add(name)
        }
        return true
      },
      false,
    )
    if (!open) denied++
    if (targets.size === 0) continue
    const process = reader.optionalText(`/proc/${pid}/comm`) ?? '?'
    for (const target of targets) found.push({ target, pid: Number(pid), process })
  }
  const unreadable: Unreadable[] = []
  if (denied > 0)
    unreadable.push({ what: `the open files of ${denied} process${denied === 1 ? '' : 'es'}`, root: true })
  // Process 1 is always there; hidepid= hides other people's processes altogether (proc(5)).
  else if (pids.length === 0) unreadable.push({ what: 'the processes (/proc has none)', root: false })
  else if (!pids.includes('1')) unreadable.push({ what: "other users' processes", root: true })
  return { found: found.sort((one, other) => one.pid - other.pid), unseen: unreadable }
}
