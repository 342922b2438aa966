import { allows, type Versions } from '../../core/versions.ts'
import type { Pinning } from '../../cpu/pinning.ts'
import { cpuList } from '../../host/cpu.ts'
import type { Guest } from '../guest.ts'
import { type Part, part } from './part.ts'

/** I/O threads and pinned CPUs, and the memory of their NUMA nodes. */
export function tuneParts({ pinning }: Pick<Guest, 'pinning'>): Part[] {
  if (pinning === null) return []
  const { vcpus, emulator, iothread, nodes } = pinning
  return [
    part('iothreads', {}, '1'),
    part(
      'cputune',
      {},
      vcpus.map(({ vcpu, cpu }) => part('vcpupin', { vcpu, cpuset: cpu })),
      emulator.length > 0 && part('emulatorpin', { cpuset: cpuList(emulator) }),
      iothread.length > 0 && part('iothreadpin', { iothread: 1, cpuset: cpuList(iothread) }),
    ),
    ...(nodes.length === 0 ? [] : [part('numatune', {}, part('memory', { mode: 'strict', nodeset: cpuList(nodes) }))]),
  ]
}

export function topologyPart({ topology }: Pick<Guest, 'topology'>, versions: Versions): Part {
  const { sockets, dies, cores, threads } = topology
  return part('topology', {
    sockets: allows(versions, 'dies') ? sockets : sockets * dies,
    dies: allows(versions, 'dies') ? dies : null,
    cores,
    threads,
  })
}

/** Emulated is the third level alone. */
export function cachePart({ caches }: Pick<Pinning, 'caches'>): Part {
  return part('cache', { mode: caches, level: caches === 'emulate' ? 3 : null })
}

/** Fewer address bits than the host's CPU has. */
export function addressPart(bits: number): Part {
  return part('maxphysaddr', { mode: 'passthrough', limit: bits })
}

export function cpuPart(guest: Guest, versions: Versions): Part {
  const { cpuModel, pinning, addressBits } = guest
  const host = cpuModel === 'host-passthrough'
  return part(
    'cpu',
    host
      ? { mode: cpuModel, check: 'none', migratable: allows(versions, 'migratable') ? 'off' : null }
      : { mode: 'custom', match: 'exact', check: 'none' },
    !host && part('model', { fallback: 'forbid' }, cpuModel),
    host && addressBits !== null && allows(versions, 'addressBits') && addressPart(addressBits),
    topologyPart(guest, versions),
    pinning !== null && host && allows(versions, 'cpuCache') && cachePart(pinning),
    guest.topoext && part('feature', { policy: 'require', name: 'topoext' }),
  )
}
