import { supports, type Versions } from '../../core/versions.ts'
import type { Pinning } from '../../cpu/pinning.ts'
import { cpuList } from '../../host/cpu.ts'
import type { GuestBoard } from '../guest.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// A guest's CPUs and memory, for new guests and for patches.

/** I/O threads and pinned CPUs, and the memory of their NUMA nodes. */
export function tuneElements({ pinning }: Pick<GuestBoard, 'pinning'>): XmlElement[] {
  if (pinning === null) return []
  const { vcpus, emulator, iothread, nodes } = pinning
  return [
    xmlElement('iothreads', {}, '1'),
    xmlElement(
      'cputune',
      {},
      vcpus.map(({ vcpu, cpu }) => xmlElement('vcpupin', { vcpu, cpuset: cpu })),
      emulator.length > 0 && xmlElement('emulatorpin', { cpuset: cpuList(emulator) }),
      iothread.length > 0 && xmlElement('iothreadpin', { iothread: 1, cpuset: cpuList(iothread) }),
    ),
    ...(nodes.length === 0
      ? []
      : [xmlElement('numatune', {}, xmlElement('memory', { mode: 'strict', nodeset: cpuList(nodes) }))]),
  ]
}

function topologyElement({ topology }: Pick<GuestBoard, 'topology'>, versions: Versions): XmlElement {
  const { sockets, dies, cores, threads } = topology
  return xmlElement('topology', {
    sockets: supports(versions, 'dies') ? sockets : sockets * dies,
    dies: supports(versions, 'dies') ? dies : null,
    cores,
    threads,
  })
}

/** Emulated is the third level alone. */
export function cacheElement({ caches }: Pick<Pinning, 'caches'>): XmlElement {
  return xmlElement('cache', { mode: caches, level: caches === 'emulate' ? 3 : null })
}

/** Fewer address bits than the host's CPU has. */
export function addressBitsElement(bits: number): XmlElement {
  return xmlElement('maxphysaddr', { mode: 'passthrough', limit: bits })
}

export function cpuElement(guest: GuestBoard, versions: Versions): XmlElement {
  const { cpuModel, pinning, addressBits } = guest
  const host = cpuModel === 'host-passthrough'
  return xmlElement(
    'cpu',
    host
      ? { mode: cpuModel, check: 'none', migratable: supports(versions, 'migratable') ? 'off' : null }
      : { mode: 'custom', match: 'exact', check: 'none' },
    !host && xmlElement('model', { fallback: 'forbid' }, cpuModel),
    host && addressBits !== null && supports(versions, 'addressBits') && addressBitsElement(addressBits),
    topologyElement(guest, versions),
    pinning !== null && host && supports(versions, 'cpuCache') && cacheElement(pinning),
    guest.topoext && xmlElement('feature', { policy: 'require', name: 'topoext' }),
  )
}

export function memoryBackingElement({ memory }: Pick<GuestBoard, 'memory'>): XmlElement | null {
  const { hugepageKib, shared } = memory
  if (hugepageKib === null && !shared) return null
  return xmlElement(
    'memoryBacking',
    {},
    hugepageKib !== null && hugepagesElement(hugepageKib),
    shared && xmlElement('source', { type: 'memfd' }),
    shared && xmlElement('access', { mode: 'shared' }),
  )
}

export function hugepagesElement(kib: number): XmlElement {
  return xmlElement('hugepages', {}, xmlElement('page', { size: kib, unit: 'KiB' }))
}
