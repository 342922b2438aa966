import { evidenceResult } from '../core/finding.ts'
import type { Volume } from '../host/block.ts'
import type { Interface, Route } from '../host/network.ts'
import type { Guard } from './check-facts.ts'

// Guards against taking devices that the host uses now.

/** Does it show the text console? fbcon keeps the frame buffer's driver from letting go: Documentation/fb/fbcon.rst. */
export const consoleGuard: Guard<'usage'> = {
  code: 'console',
  forceable: true,
  askedBy: ['taking', 'also-taken'],
  run({ usage: { screens } }) {
    return evidenceResult({
      problem: "The host's text console is on it",
      ok: 'The text console is elsewhere',
      next: 'make the other GPU the primary display in the firmware setup, or --force console if the host needs no console',
      evidence: screens.found.map(({ address, how }) => `${address} → ${how}`),
      unreadable: screens.unseen,
    })
  },
}

/**
 * Are device nodes open? Unbinding waits for them, with some drivers for ever (snd_card_free in sound/core/init.c;
 * NVIDIA's driver stays in the kernel).
 */
export const inUseGuard: Guard<'usage'> = {
  code: 'in-use',
  forceable: true,
  askedBy: ['taking', 'also-taken', 'releasing'],
  run({ usage: { open } }) {
    return evidenceResult({
      problem: 'A process holds it open',
      ok: 'No process holds it open',
      next: 'end these processes first; shut the guest down if it is one; --force in-use if they will be gone by then',
      evidence: open.nodes.map(({ node, address, processes }) => {
        const shown = processes.slice(0, 4).map(({ pid, name }) => `${name}[${pid}]`)
        const rest = processes.length - shown.length
        return `${address} → ${node} is open in ${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`
      }),
      unreadable: open.unseen,
    })
  },
}

/** Is a drive mounted, swap, part of a larger volume, named by fstab or crypttab, or the source of this boot? */
export const storageGuard: Guard<'usage'> = {
  code: 'storage',
  forceable: true,
  askedBy: ['taking', 'also-taken', 'hand-over'],
  run({ usage: { storage } }) {
    return evidenceResult({
      problem: 'The host uses a drive on it',
      ok: 'The host uses no drive on it',
      next: 'choose another drive or controller, or take this one out of use first (umount, swapoff, fstab); --force storage if it is not needed',
      evidence: [
        ...new Set(storage.disks.flatMap(({ address, volume }) => volumeUsage(volume, `${address} → ${volume.node}`))),
      ],
      unreadable: storage.unseen,
    })
  },
}

/** The types that blkid gives to parts of larger volumes. */
const MEMBER_SIGNATURES: readonly [pattern: RegExp, text: string][] = [
  [/^LVM2?_member$/, 'an LVM physical volume'],
  [/_raid_member$/, 'a member of a RAID array'],
  [/^crypto_LUKS$/, 'a LUKS volume'],
  [/^zfs_member$/, 'a member of a ZFS pool'],
  [/^bcache$/, 'a part of a bcache'],
  [/^mpath_member$/, 'a path of a multipath disk'],
  [/^drbd$/, 'a part of a DRBD volume'],
  [/^(ceph_bluestore|stratis)$/, 'a part of a storage pool'],
]

/** Returns one line for each use of a volume and of the volumes on top of it; `at` is the way to it. */
export function volumeUsage(volume: Volume, at: string): string[] {
  const lines: string[] = []
  if (volume.mounts.length > 0) lines.push(`${at} is mounted on ${mountPointsText(volume.mounts)}`)
  if (volume.swap) lines.push(`${at} is swap`)
  if (volume.booted) lines.push(`${at} is where this boot's loader came from`)
  for (const holder of volume.volumesOnTop) {
    lines.push(...volumeUsage(holder, `${at} → ${holder.kind === null ? '' : `${holder.kind} `}${holder.node}`))
  }
  if (lines.length > 0) return lines
  for (const { table, target, type } of volume.tables) {
    lines.push(`${at} is ${type === 'crypt' ? 'opened as ' : ''}${type === 'swap' ? 'swap' : target} in ${table}`)
  }
  if (lines.length > 0) return lines
  if (volume.kind !== null) return [`${at} is active`]
  const member = MEMBER_SIGNATURES.find(([pattern]) => pattern.test(volume.signature ?? ''))?.[1]
  if (member === undefined) return []
  return [`${at} is ${member}${volume.label === null ? '' : ` (${volume.label})`}, not in use now`]
}

function mountPointsText(points: readonly string[]): string {
  const shown = points.slice(0, 3)
  const rest = points.length - shown.length
  return rest === 0 ? shown.join(', ') : `${shown.join(', ')} and ${rest} more`
}

/** Does a default route run over it, also through bonds, VLANs and bridges? The evidence names others that stay. */
export const networkGuard: Guard<'usage'> = {
  code: 'network',
  forceable: true,
  askedBy: ['taking', 'also-taken', 'hand-over'],
  run({ usage: { network } }) {
    const routes = network.routes.filter(({ destination }) => destination === 'default')
    const lost = routes.flatMap((route) =>
      chainsOver(network.interfaces, [route.device]).map(
        (chain) => `${chain} has the default route${routeNote(route)}`,
      ),
    )
    const names = new Set(network.interfaces.flatMap(({ chains }) => chains.flat()))
    const staying = routes
      .filter(({ device }) => !names.has(device))
      .map((route) => `a default route over ${route.device} stays${routeNote(route)}`)
    return evidenceResult({
      problem: "The host's network runs over it",
      ok: 'No default route runs over it',
      next: 'choose another network card, or --force network if the host can do without',
      evidence: lost.length > 0 ? [...lost, ...staying] : [],
      unreadable: network.unseen,
    })
  },
}

function routeNote({ family, metric }: Route): string {
  return ` (IPv${family}, metric ${metric})`
}

/** Returns each way from a card to one of these interfaces, such as `0000:03:00.0 → eth0 → bond0 → br0`. */
function chainsOver(interfaces: readonly Interface[], names: readonly string[]): string[] {
  return interfaces.flatMap(({ address, chains }) =>
    chains
      .filter((chain) => names.includes(chain[chain.length - 1] ?? ''))
      .map((chain) => [address, ...chain].join(' → ')),
  )
}

/** Does an SSH session run over it? sshd's sockets tell, since sudo drops SSH_CONNECTION. */
export const sshGuard: Guard<'usage'> = {
  code: 'ssh',
  forceable: true,
  askedBy: ['taking', 'also-taken', 'hand-over'],
  run({ usage: { network, ssh } }) {
    return evidenceResult({
      problem: 'An SSH session runs over it',
      ok: 'No SSH session runs over it',
      next: 'choose another network card, or work at the machine itself; --force ssh to be cut off',
      evidence: ssh.sessions.flatMap(({ peer, interfaces, shownBy }) =>
        chainsOver(network.interfaces, interfaces).map((chain) => `${chain} leads to ${peer} (${shownBy})`),
      ),
      unreadable: [...ssh.unseen, ...(network.interfaces.length > 0 ? network.unseen : [])],
    })
  },
}

/**
 * For live binding: is an interface up, and does it have a route of any kind, or something built on it? A macvtap or a
 * bridge may connect guests where the host has no address.
 */
export const interfaceUpGuard: Guard<'usage'> = {
  code: 'interface-up',
  forceable: true,
  askedBy: ['taking-now'],
  run({ usage: { network } }) {
    const routed = network.routes.filter(({ destination }) => !/^(fe80|ff00)::/.test(destination))
    return evidenceResult({
      problem: 'A network interface on it is up and in use',
      ok: 'No network interface on it is in use',
      next: 'take the interface down first (ip link set … down), and the guests off it',
      evidence: network.interfaces
        .filter(({ up }) => up)
        .flatMap((each) => {
          const chain = each.chains.find((way) => routed.some(({ device }) => device === way[way.length - 1]))
          const target = routed.find(({ device }) => device === chain?.[chain.length - 1])
          const way = (names: readonly string[]): string => [each.address, ...names].join(' → ')
          if (chain !== undefined) return [`${way(chain)} has a route to ${target?.destination}`]
          const built = each.chains.filter(({ length }) => length > 1)
          return built.map((names) => `${way(names)} is built on it`)
        }),
      unreadable: network.unseen,
    })
  },
}

/** Does the last keyboard hang on it? One on i8042 (PS/2, most laptops) always stays. */
export const lastKeyboardGuard: Guard<'usage'> = {
  code: 'last-keyboard',
  forceable: true,
  askedBy: ['taking', 'also-taken', 'hand-over'],
  run({ usage: { keyboards } }) {
    const lost = keyboards.found.filter(({ address }) => address !== null)
    const staying = keyboards.found.filter(({ address }) => address === null)
    return evidenceResult({
      problem: 'The last keyboard hangs on it',
      ok: lost.length > 0 ? 'The host keeps a keyboard' : 'No keyboard hangs on it',
      next: 'plug the keyboard into a port of another controller, or --force last-keyboard if the host needs none',
      evidence: staying.length > 0 ? [] : lost.map(({ name, address }) => `${address} → ${name}`),
      unreadable: keyboards.unseen,
      okEvidence: lost.length > 0 ? staying.map(({ name }) => `${name} stays`) : [],
    })
  },
}
