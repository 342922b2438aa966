import { UserError } from '../../core/error.ts'
import type { Guest } from '../devices/guest-devices.ts'
import { listSettings, splitProperties } from './vm-config.ts'
import { asAsked, type VmSetting, type VmTarget } from './vm-target.ts'

// Huge pages and NUMA nodes of a VM. Source: PVE::QemuServer::Memory (qemu-server).

/** Returns these settings. Throws a UserError with code `usage` where Proxmox would not start the VM with them. */
export function numaSettings(guest: Guest, target: VmTarget): VmSetting[] {
  const huge = guest.memory.hugepageKib
  const size = huge === null ? null : ({ 2048: '2', 1048576: '1024' }[huge] ?? null)
  if (huge !== null && size === null)
    throw new UserError('usage', `--hugepages: Proxmox takes pages of 2M or 1G, and no others`)
  const own = listSettings(target.present ?? new Map(), 'numa')
  const when = asAsked(target, 'hugepages')
  const nodes = own.length > 0 ? ownNodes(guest, target, size) : [nearNode(guest, target)]
  const placed = nodes.filter((node) => node !== null)
  return [
    // Huge pages and nodes are for a VM with NUMA.
    ...(size !== null || placed.length > 0
      ? [{ name: 'numa', when: size === null ? asAsked(target, 'vcpus', 'cores', 'pin') : when, value: '1' } as const]
      : []),
    ...(size === null ? [] : [{ name: 'hugepages', when, value: size } as const]),
    ...placed,
  ]
}

/** Returns the node of a pinned guest on a host with several: Proxmox takes memory from the first one otherwise. */
function nearNode(guest: Guest, target: VmTarget): VmSetting | null {
  const [node, ...more] = guest.pinning?.nodes ?? []
  if (target.host.numaNodes < 2 || node === undefined || more.length > 0) return null
  const last = guest.vcpus - 1
  return {
    name: 'numa0',
    when: 'asked',
    value: {
      cpus: last === 0 ? '0' : `0-${last}`,
      hostnodes: String(node),
      memory: String(Math.ceil(guest.memory.kib / 1024)),
      policy: 'bind',
    },
  }
}

/** Checks the nodes that a VM has of its own; with huge pages, each must be told the one node of the host that it is of. */
function ownNodes(guest: Guest, target: VmTarget, size: string | null): (VmSetting | null)[] {
  const own = listSettings(target.present ?? new Map(), 'numa')
  const sum = own.reduce((total, { value }) => total + Number(splitProperties(value).memory ?? 0), 0)
  const memory = Math.ceil(guest.memory.kib / 1024)
  const names = own.map(({ name }) => name).join(', ')
  if (sum !== memory)
    throw new UserError(
      'usage',
      `${names}: have ${sum} MiB together, and the VM ${memory} MiB; set memory of ${names} first, or take them out`,
    )
  if (size === null) return []
  const [pinned, ...more] = guest.pinning?.nodes ?? []
  const node = target.host.numaNodes === 1 ? 0 : more.length > 0 ? undefined : pinned
  return own.map(({ name, value }) => {
    const { hostnodes, memory: part, policy } = splitProperties(value)
    if (hostnodes !== undefined && !/^\d+$/.test(hostnodes))
      throw new UserError(
        'usage',
        `${name}: has hostnodes=${hostnodes}; with huge pages each node of the VM is on one node of the host`,
      )
    if (Number(part) % Number(size) !== 0)
      throw new UserError('usage', `${name}: has memory=${part}, which is no whole number of huge pages of ${size} MiB`)
    if (hostnodes !== undefined && policy !== undefined) return null
    if (hostnodes === undefined && node === undefined)
      throw new UserError(
        'usage',
        `${name}: huge pages need its hostnodes, and this host has ${target.host.numaNodes} nodes: add hostnodes=N,policy=bind to it`,
      )
    return { name, when: 'asked', value: { hostnodes: hostnodes ?? String(node), policy: policy ?? 'bind' } }
  })
}
