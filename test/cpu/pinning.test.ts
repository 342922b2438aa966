import { describe, expect, it } from 'vitest'
import type { PinRequest } from '../../lib/cpu/pinning.ts'
import { because, cpusOf, cpuTree, pin, smt, times } from '../support/cpus.ts'
import { scratchDir } from '../support/machine.ts'

const amd = { vendor: 'AuthenticAMD' } as const

describe('whole cores', () => {
  it('come with their siblings, side by side, and the host keeps the first', () => {
    expect(pin(cpuTree(smt(8)), { size: { vcpus: 8 } })).toMatchObject({
      vcpus: [1, 9, 2, 10, 3, 11, 4, 12].map((cpu, vcpu) => ({ vcpu, cpu })),
      topology: { sockets: 1, dies: 1, cores: 4, threads: 2 },
      host: [0, 5, 6, 7, 8, 13, 14, 15],
      emulator: [0, 5, 6, 7, 8, 13, 14, 15],
      iothread: [0, 5, 6, 7, 8, 13, 14, 15],
      idle: [],
      nodes: [0],
      caches: 'passthrough',
      topoext: false,
    })
  })

  it('can be asked for by number', () => {
    const root = cpuTree(smt(8))
    expect(pin(root, { size: { cores: 4 } })).toEqual(pin(root, { size: { vcpus: 8 } }))
  })

  it('without SMT are single CPUs', () => {
    const root = cpuTree(times(6, (cpu) => ({ cpu, core: cpu, l3: 0 })))
    expect(pin(root, { size: { cores: 4 } })).toMatchObject({
      topology: { dies: 1, cores: 4, threads: 1 },
      host: [0, 5],
      nodes: [],
    })
    expect(because(root, { size: { cores: 4 } })).not.toMatch(/threads (in|of)/)
  })

  it('are shared by nobody when the number of vCPUs is odd: the last sibling stays idle', () => {
    const odd = pin(cpuTree(smt(4)), { size: { vcpus: 3 } })
    expect(odd).toMatchObject({ topology: { cores: 3, threads: 1 }, host: [0, 3, 4, 7], idle: [6], caches: 'emulate' })
    expect(odd.vcpus.map(({ cpu }) => cpu)).toEqual([1, 5, 2])
    expect(odd.reasons.join()).toContain('Idle: CPU 6,')
  })

  it('with one thread of each leave the others idle', () => {
    const one = pin(cpuTree(smt(4)), { size: { vcpus: 3 }, oneThread: true })
    expect(one).toMatchObject({ topology: { cores: 3, threads: 1 }, host: [0, 4], idle: [5, 6, 7] })
    expect(one.vcpus.map(({ cpu }) => cpu)).toEqual([1, 2, 3])
    expect(pin(cpuTree(smt(4)), { size: 'all-cores', oneThread: true })).toEqual({
      ...one,
      reasons: expect.anything(),
    })
  })

  it('all of them leave the host one', () => {
    expect(pin(cpuTree(smt(8, 4)), { size: 'all-cores' })).toMatchObject({
      host: [0, 8],
      topology: { cores: 7, threads: 2 },
    })
  })
})

describe('every thread, where it is asked for by name', () => {
  const every: PinRequest = { size: 'all-threads' }

  it('the host keeps none, and shares them with the guest', () => {
    const pinned = pin(cpuTree(smt(4)), every)
    expect(pinned).toMatchObject({ host: [], idle: [], emulator: [0, 1, 2, 3, 4, 5, 6, 7], topology: { cores: 4 } })
    expect(pinned.vcpus.map(({ cpu }) => cpu)).toEqual([0, 4, 1, 5, 2, 6, 3, 7])
    expect(pinned.reasons.join(' ')).toContain('The host keeps no CPU, as asked')
  })

  it('one core is enough, and E cores are among them', () => {
    expect(pin(cpuTree(smt(1)), every).vcpus).toHaveLength(2)
    const fast = Array.from({ length: 4 }, (_, cpu) => ({ cpu, core: cpu >> 1, l2: cpu >> 1, l3: 0 }))
    const slow = Array.from({ length: 4 }, (_, at) => ({ cpu: 4 + at, core: 4 + at, l2: 100, l3: 0 }))
    expect(pin(cpuTree([...fast, ...slow]), every).vcpus.map(({ cpu }) => cpu)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  })
})

describe('threads and caches in the guest', () => {
  it('take topoext on AMD', () => {
    expect(pin(cpuTree(smt(4), amd), { size: { cores: 2 } })).toMatchObject({ topoext: true, topology: { threads: 2 } })
    expect(pin(cpuTree(smt(4), amd), { size: { vcpus: 1 } })).toMatchObject({ topoext: false })
  })

  it('are cores on an AMD processor that has no topoext', () => {
    const without = pin(cpuTree(smt(4), { ...amd, flags: 'fpu svm' }), { size: { cores: 2 } })
    expect(without).toMatchObject({ topoext: false, topology: { cores: 4, threads: 1 }, caches: 'emulate' })
  })

  it('are shared as on the host when whole L3 clusters are given', () => {
    const root = cpuTree(smt(12, 3), amd)
    expect(pin(root, { size: { cores: 6 } })).toMatchObject({ topology: { dies: 2, cores: 3 }, caches: 'passthrough' })
    expect(pin(root, { size: { cores: 4 } })).toMatchObject({ topology: { dies: 1, cores: 4 }, caches: 'emulate' })
    // Four cores of five and four of four: as many in each, but the processor would tell of five.
    const uneven = cpuTree(times(9, (cpu) => ({ cpu, core: cpu, l3: cpu < 5 ? 0 : 1 })))
    expect(pin(uneven, { size: 'all-cores' })).toMatchObject({ topology: { dies: 2, cores: 4 }, caches: 'emulate' })
  })
})

describe('offline CPUs and numbers with gaps', () => {
  it('a core with a thread offline is used last, and then not as one with two', () => {
    const rows = smt(4).map((row) => ({ ...row, online: row.cpu !== 5 }))
    const root = cpuTree(rows)
    expect(pin(root, { size: { cores: 2 } })).toMatchObject({ topology: { cores: 2, threads: 2 }, host: [0, 1, 4] })
    expect(pin(root, { size: { cores: 3 } })).toMatchObject({
      topology: { cores: 5, threads: 1 },
      caches: 'emulate',
      host: [0, 4],
    })
    expect(because(root, { size: { cores: 2 } })).toContain('Offline, and given to nobody: CPU 5.')
  })

  it('are in numeric order, the first online CPU for the host', () => {
    const rows = [0, 2, 9, 10, 100].map((cpu) => ({ cpu, core: cpu, l3: 0, online: cpu !== 0 }))
    expect(cpusOf(cpuTree(rows), { size: 'all-cores' })).toBe('9 10 100')
  })

  it('CPUs of unknown siblings are cores, and that is said', () => {
    const files = Object.fromEntries(times(4, (cpu) => [`/sys/devices/system/cpu/cpu${cpu}/uevent`, '']))
    const root = cpuTree([], { files: { ...files, '/sys/devices/system/cpu/online': '0-3\n' } })
    expect(cpusOf(root, { size: { cores: 2 } })).toBe('1 2')
    expect(because(root, { size: { cores: 2 } })).toContain('each is taken for a core')
  })
})

describe('refused', () => {
  const error = (root: string, request: PinRequest): string => {
    try {
      return `pinned ${cpusOf(root, request)}`
    } catch (thrown) {
      const { code, message } = thrown as { code: string; message: string }
      return `${code}: ${message}`
    }
  }

  it.each<[PinRequest, string]>([
    [
      { size: { vcpus: 15 } },
      '15 vCPUs are more than this host can give, which has 16 online CPUs in 8 cores and keeps one core: ask for 14 at most',
    ],
    [
      { size: { cores: 8 } },
      '8 cores are more than this host can give, which has 16 online CPUs in 8 cores and keeps one core: ask for 7 at most',
    ],
    [
      { size: { vcpus: 8 }, oneThread: true },
      '8 vCPUs are more than this host can give, which has 16 online CPUs in 8 cores and keeps one core: ask for 7 at most',
    ],
  ])('more than the host can give: %j', (request, message) => {
    expect(error(cpuTree(smt(8)), request)).toBe(`too-many-vcpus: ${message}`)
  })

  it('a host with one core, one that says nothing, and numbers that are none', () => {
    expect(error(cpuTree(smt(1)), { size: 'all-cores' })).toMatch(/^too-many-vcpus: .* none is left/)
    expect(error(scratchDir('empty'), { size: { vcpus: 2 } })).toMatch(/^no-cpus: \/sys\/devices\/system\/cpu: /)
    expect(error(cpuTree(smt(8)), { size: { vcpus: 0 } })).toMatch(/^usage: 0 /)
    expect(error(cpuTree(smt(8)), { size: { cores: 1.5 } })).toMatch(/^usage: 1.5 /)
  })
})
