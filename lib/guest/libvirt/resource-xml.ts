import { supports, type Versions } from '../../core/versions.ts'
import type { Pinning } from '../../cpu/pinning.ts'
import { cpuList } from '../../host/cpu.ts'
import type { GuestBoard } from '../guest.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// A guest's CPUs and memory, for new guests and for patches.

/** Returns the elements for I/O threads, pinned CPUs, and the memory of their NUMA nodes. */
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

/** Returns `<cache>`; only the third level can be emulated. */
export function cacheElement({ caches }: Pick<Pinning, 'caches'>): XmlElement {
  return xmlElement('cache', { mode: caches, level: caches === 'emulate' ? 3 : null })
}

/** Returns the element for fewer address bits than the host's CPU has. */
export function addressBitsElement(bits: number): XmlElement {
  return xmlElement('maxphysaddr', { mode: 'passthrough', limit: bits })
}

/** Returns `<cpu>`: the model, with its address bits, topology and cache. */
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

/** Returns `<memoryBacking>`; `null` where the guest neither has hugepages nor shares its memory. */
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

/** Returns `<hugepages>` with pages of this size in KiB. */
export function hugepagesElement(kib: number): XmlElement {
  return xmlElement('hugepages', {}, xmlElement('page', { size: kib, unit: 'KiB' }))
}
