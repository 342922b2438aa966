import { readStorage, type Storage } from './block.ts'
import { isResponsive, readConfig } from './config-space.ts'
import { onDemand } from './denied.ts'
import { type Keyboards, readKeyboards, readScreens, type Screens } from './input-devices.ts'
import { type Network, readNetwork, routesTo } from './network.ts'
import { type DeviceNode, type OpenFiles, readDeviceNodes, readOpenFiles } from './open-nodes.ts'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'
import { deviceAbove, readLines, type Unreadable } from './readings.ts'
import { type ReservedRegions, readReservedRegions } from './reserved.ts'
import { type RootUnlock, readRootUnlock } from './root-unlock.ts'
import { interfaceOf, readTcpConnections, shortAddress, type TcpConnection } from './sockets.ts'

/** A device node that processes hold open. */
interface OpenNode extends DeviceNode {
  processes: { pid: number; name: string }[]
}

/** An SSH session and the interfaces that it runs over; none when no route leads to the other end. */
interface SshSession {
  peer: string
  interfaces: string[]
  /** The evidence for it: `sshd[812]`, or `port 22` when the processes' sockets may not be seen. */
  shownBy: string
}

/** The uses of the selected devices, and what keeps these from guests. `unseen` has what could not be seen. */
export interface DeviceUsage {
  storage: Storage
  network: Network
  ssh: { sessions: SshSession[]; unseen: Unreadable[] }
  open: { nodes: OpenNode[]; unseen: Unreadable[] }
  screens: Screens
  keyboards: Keyboards
  unlock: RootUnlock
  /** The mediated devices that are slices of selected devices. */
  mdevs: { name: string; address: string }[]
  /** The addresses of devices that do not answer, and of those whose configuration space was not read. */
  answers: { silent: string[]; unread: string[] }
  reserved: ReservedRegions
}

const SSH = /^(sshd|sshd-session|sshd-auth|dropbear)$/

/**
 * Reads all that may speak against taking these devices from the host. `reader` is the machine (/proc, /sys, /run),
 * `files` the system (/etc, /usr). Only what the selected devices can have is asked for.
 */
export function readDeviceUsage(reader: Reader, files: Reader, selected: readonly PciDevice[]): DeviceUsage {
  const inner: { sessions: TcpConnection[] | undefined; nodes: DeviceNode[]; holders: OpenFiles } = onDemand(
    [reader, files],
    {
      sessions: () => (usage.network.interfaces.length === 0 ? [] : readTcpConnections(reader)),
      nodes: () => {
        const disks = usage.storage.disks.map(({ address, volume }) => ({ node: volume.node, address }))
        return [...disks, ...readDeviceNodes(reader, selected)]
      },
      holders: () => {
        const sockets = (inner.sessions ?? []).map(socketOf)
        return readOpenFiles(reader, new Set([...inner.nodes.map(({ node }) => node), ...sockets]))
      },
    },
  )
  const usage: DeviceUsage = onDemand([reader, files], {
    storage: () => readStorage(reader, files, selected),
    network: () => readNetwork(reader, selected),
    screens: () => {
      const screens = readScreens(reader, selected)
      screens.found.push(...serialConsoles(reader, inner.nodes))
      return screens
    },
    keyboards: () => readKeyboards(reader, selected),
    unlock: () => readRootUnlock(reader, files),
    mdevs: () => readMdevs(reader, selected),
    answers: () => {
      const answering = selected.map((device) => ({
        address: device.address,
        answer: isResponsive(readConfig(reader, device)),
      }))
      const addresses = (answer: boolean | null): string[] =>
        answering.filter((each) => each.answer === answer).map(({ address }) => address)
      return { silent: addresses(false), unread: addresses(null) }
    },
    reserved: () => readReservedRegions(reader, selected),
    ssh: () => sshOf(reader, usage.network, inner.sessions, inner.holders),
    open: () => {
      const { nodes, holders } = inner
      const open = nodes.map((node) => ({
        ...node,
        processes: holders.found
          .filter(({ target }) => target === node.node)
          .map(({ pid, process }) => ({ pid, name: process })),
      }))
      return {
        nodes: open.filter(({ processes }) => processes.length > 0),
        unseen: nodes.length > 0 ? holders.unseen : [],
      }
    },
  })
  return usage
}

/** Reads the SSH sessions, where nothing else is asked of the processes' open files. */
export function readSsh(reader: Reader, network: Network): DeviceUsage['ssh'] {
  const sessions = readTcpConnections(reader)
  return sshOf(reader, network, sessions, readOpenFiles(reader, new Set((sessions ?? []).map(socketOf))))
}

const socketOf = ({ inode }: TcpConnection): string => `socket:[${inode}]`

function sshOf(
  reader: Reader,
  network: Network,
  sessions: TcpConnection[] | undefined,
  holders: OpenFiles,
): DeviceUsage['ssh'] {
  const sockets = new Map((sessions ?? []).map((session) => [socketOf(session), session]))
  const held = holders.found.flatMap(({ target, process, pid }) => {
    const session = SSH.test(process) ? sockets.get(target) : undefined
    return session === undefined ? [] : [{ session, by: `${process}[${pid}]` }]
  })
  // Port 22 tells the sessions of sshd whose sockets may not be seen.
  const known = new Set(held.map(({ session }) => session))
  const guessed = (holders.unseen.length > 0 ? (sessions ?? []) : [])
    .filter((session) => session.localPort === 22 && !known.has(session))
    .map((session) => ({ session, by: 'port 22' }))
  const ssh: DeviceUsage['ssh'] = { sessions: [], unseen: sockets.size > 0 ? holders.unseen : [] }
  if (sessions === undefined) ssh.unseen = [{ what: 'the connections (/proc/net/tcp)', root: false }]
  for (const { session, by } of [...held, ...guessed]) {
    const peer = shortAddress(session.peer)
    if (ssh.sessions.some((each) => each.peer === peer && each.shownBy === by)) continue
    const interfaces = interfacesTo(reader, network, session)
    ssh.sessions.push({ peer, interfaces, shownBy: by })
    if (interfaces.length === 0) ssh.unseen.push({ what: `the route to ${peer}`, root: false })
  }
  return ssh
}

function interfacesTo(reader: Reader, network: Network, session: TcpConnection): string[] {
  if (/^fe[89ab]/.test(session.peer) && session.peer.length === 32) {
    const name = interfaceOf(reader, session.local)
    if (name !== undefined) return [name]
  }
  return [...new Set(routesTo(network.routes, session.peer).map(({ device }) => device))]
}

/** Returns the serial ports on PCI that the kernel logs to, by /proc/consoles (Documentation/filesystems/proc.rst). */
function serialConsoles(reader: Reader, nodes: readonly DeviceNode[]): Screens['found'] {
  if (!nodes.some(({ node }) => node.startsWith('/dev/tty'))) return []
  const consoles = new Set((readLines(reader, '/proc/consoles') ?? []).map((line) => `/dev/${line.split(/\s/)[0]}`))
  return nodes
    .filter(({ node }) => consoles.has(node))
    .map(({ node, address }) => ({ address, how: `${node} is a console of the kernel` }))
}

/** Returns the mediated devices of selected devices. Source: Documentation/driver-api/vfio-mediated-device.rst. */
function readMdevs(reader: Reader, selected: readonly PciDevice[]): DeviceUsage['mdevs'] {
  return (reader.list('/sys/bus/mdev/devices') ?? []).flatMap((name) => {
    const owner = deviceAbove(reader.resolve(`/sys/bus/mdev/devices/${name}`) ?? '', selected)
    return owner === undefined ? [] : [{ name, address: owner.address }]
  })
}
