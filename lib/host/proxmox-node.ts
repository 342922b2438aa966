import type { Reader } from './reader.ts'

// What a Proxmox host says of itself in /etc/pve, which all nodes of a cluster share.

/** A storage on which this node may make disks of VMs, or from which it reads installation media. */
export interface ProxmoxStorage {
  name: string
  /** The kinds of content: `images`, `iso`, `rootdir` … */
  content: readonly string[]
  /** The folder below which its files lie; `null`: it has volumes and no files. */
  path: string | null
}

/** A device or a folder that the cluster knows by a name: what it stands for on this node. A USB device may be an ID. */
export interface ProxmoxMapping {
  name: string
  path: string
}

export interface ProxmoxHost {
  /** Is there a cluster file system at all? */
  present: boolean
  node: string
  storages: ProxmoxStorage[]
  /** The bridge that guests get by default: vmbr0, or the only one. */
  bridge: string | null
  pciMappings: ProxmoxMapping[]
  usbMappings: ProxmoxMapping[]
  folderMappings: ProxmoxMapping[]
  /** The number of NUMA nodes; 1 where the machine does not say. */
  numaNodes: number
}

/** A VM's configuration, or why there is none: the ID is free, or somebody else has it. */
export type ProxmoxVm = { kind: 'free' } | { kind: 'own'; text: string } | { kind: 'other'; file: string }

const CONTENT: Readonly<Record<string, readonly string[]>> = {
  dir: ['images', 'rootdir'],
  btrfs: ['images', 'rootdir'],
  lvmthin: ['images', 'rootdir'],
  zfspool: ['images', 'rootdir'],
  nfs: ['images'],
  cifs: ['images'],
  lvm: ['images'],
  rbd: ['images'],
  zfs: ['images'],
}
/** Where a storage of files lies that has no `path` of its own. */
const FILES = new Set(['nfs', 'cifs', 'cephfs'])

/** Reads the host. `files` is the system (/etc), `reader` the machine (/sys). Source: PVE::Storage::Plugin (pve-storage). */
export function readProxmox(files: Reader, reader: Reader): ProxmoxHost {
  const node = (files.optionalText('/etc/hostname') ?? '').trim().replace(/\..*/, '') || 'localhost'
  return {
    present: files.exists('/etc/pve'),
    node,
    storages: readStorages(files.optionalText('/etc/pve/storage.cfg') ?? '', node),
    bridge: readBridge(files, reader),
    pciMappings: readMappings(files.optionalText('/etc/pve/mapping/pci.cfg') ?? '', node),
    usbMappings: readMappings(files.optionalText('/etc/pve/mapping/usb.cfg') ?? '', node),
    folderMappings: readMappings(files.optionalText('/etc/pve/mapping/directory.cfg') ?? '', node),
    numaNodes: Math.max(
      1,
      (reader.list('/sys/devices/system/node') ?? []).filter((name) => /^node\d+$/.test(name)).length,
    ),
  }
}

/** Reads the VM with this ID. IDs are the cluster's: a container or another node may have it. */
export function readProxmoxVm(files: Reader, vmid: number): ProxmoxVm {
  const text = files.optionalText(`/etc/pve/qemu-server/${vmid}.conf`)
  if (text !== undefined) return { kind: 'own', text }
  const nodes = (files.list('/etc/pve/nodes') ?? []).map((name) => `/etc/pve/nodes/${name}`)
  const elsewhere = [
    `/etc/pve/lxc/${vmid}.conf`,
    ...nodes.flatMap((at) => ['qemu-server', 'lxc'].map((kind) => `${at}/${kind}/${vmid}.conf`)),
  ]
  const file = elsewhere.find((path) => files.exists(path))
  return file === undefined ? { kind: 'free' } : { kind: 'other', file }
}

/** Splits a file of sections: `type: name`, or a name alone, and indented lines below. */
function sectionsOf(text: string): { head: string; lines: string[] }[] {
  const sections: { head: string; lines: string[] }[] = []
  for (const line of text.split('\n')) {
    if (/^\s*(#|$)/.test(line)) continue
    if (/^\S/.test(line)) sections.push({ head: line.trim(), lines: [] })
    else sections.at(-1)?.lines.push(line.trim())
  }
  return sections
}

/** Reads the storages that this node may use. Proxmox has a `local` of its own where none is configured. */
function readStorages(text: string, node: string): ProxmoxStorage[] {
  const all = sectionsOf(text).flatMap(({ head, lines }) => {
    const [, type = '', name = ''] = /^(\w+):\s*(\S+)$/.exec(head) ?? []
    const values = new Map(lines.map((line) => [line.replace(/\s.*/, ''), line.replace(/^\S+\s*/, '')]))
    const on = values.get('nodes')?.split(/[\s,]+/)
    const off = values.has('disable') && values.get('disable') !== '0'
    if (type === '' || off || (on !== undefined && !on.includes(node))) return []
    const path = values.get('path') ?? (FILES.has(type) ? `/mnt/pve/${name}` : null)
    // No disk can be made on what offers its own (iSCSI).
    const content = /^iscsi/.test(type) ? [] : (values.get('content')?.split(/[\s,]+/) ?? CONTENT[type] ?? [])
    return [{ name, content, path }]
  })
  if (all.some(({ name }) => name === 'local') || /^\w+:\s*local\s*$/m.test(text)) return all
  return [{ name: 'local', content: ['images', 'rootdir', 'iso'], path: '/var/lib/vz' }, ...all]
}

/** Reads mappings: `map node=pve,path=0000:01:00,id=…`, a line for each node. Source: PVE::Mapping::PCI (pve-guest-common). */
function readMappings(text: string, node: string): ProxmoxMapping[] {
  return sectionsOf(text).flatMap(({ head, lines }) =>
    lines.flatMap((line) => {
      const words = new Map(
        line
          .replace(/^map\s+/, '')
          .split(',')
          .map((word) => [word.replace(/=.*/, ''), word.replace(/^[^=]*=/, '')]),
      )
      const path = words.get('path') ?? words.get('id')
      return line.startsWith('map') && path !== undefined && words.get('node') === node ? [{ name: head, path }] : []
    }),
  )
}

function readBridge(files: Reader, reader: Reader): string | null {
  const configured = (files.optionalText('/etc/network/interfaces') ?? '').matchAll(/^iface\s+(vmbr\d+)\s/gm)
  const present = (reader.list('/sys/class/net') ?? []).filter((name) => /^vmbr\d+$/.test(name))
  const bridges = [...new Set([...present, ...[...configured].map(([, name = '']) => name)])]
  return bridges.includes('vmbr0') ? 'vmbr0' : bridges.length === 1 ? (bridges[0] ?? null) : null
}
