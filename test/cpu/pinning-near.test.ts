import { describe, expect, it } from 'vitest'
import { coresOf } from '../../lib/cpu/cores.ts'
import { cpuList, readCpus } from '../../lib/host/cpu.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { because, cpusOf, cpuTree, hybrid, pin, type Row, smt, times } from '../support/cpus.ts'

const amd = { vendor: 'AuthenticAMD' } as const
// 16 cores, the first L3 with 96 MiB and the lower clock.
const x3d = (clocks = true): string =>
  cpuTree(
    smt(16, 8, 16).map((row) => ({ ...row, mhz: clocks && row.l3 === 0 ? 5250 : 5700 })),
    { ...amd, l3Size: { 0: 98304 } },
  )

const efficient = (root: string): string =>
  cpuList(coresOf(readCpus(openReader(root))).flatMap((core) => (core.efficient ? core.cpus : [])))

describe('L3 clusters', () => {
  it('one that holds all, and not the host', () => {
    expect(cpusOf(cpuTree(smt(12, 3)), { size: { cores: 3 } })).toBe('3 15 4 16 5 17')
    expect(cpusOf(cpuTree(smt(12, 3)), { size: { cores: 2 } })).toBe('3 15 4 16')
  })

  it('else the fewest', () => {
    // Clusters of 3, 2 and 6 cores: five are of the last, seven of two.
    const rows = times(11, (cpu) => ({ cpu, core: cpu, l3: cpu < 3 ? 0 : cpu < 5 ? 1 : 2 }))
    expect(cpusOf(cpuTree(rows), { size: { cores: 5 } })).toBe('5 6 7 8 9')
    expect(cpusOf(cpuTree(rows), { size: { cores: 8 } })).toBe('3 4 5 6 7 8 9 10')
    // Of 1, 2, 3 and 4 cores, seven are of the last two.
    const four = times(10, (cpu) => ({ cpu, core: cpu, l3: Math.floor((Math.sqrt(8 * cpu + 1) - 1) / 2) }))
    expect(cpusOf(cpuTree(four), { size: { cores: 7 } })).toBe('3 4 5 6 7 8 9')
  })

  it('of one node, when one of them holds all and the first does not', () => {
    const rows = times(14, (cpu) => ({ cpu, core: cpu, node: cpu < 6 ? 0 : 1, l3: cpu < 6 ? 0 : cpu < 8 ? 1 : 2 }))
    expect(cpusOf(cpuTree(rows), { size: { cores: 3 } })).toBe('8 9 10')
  })

  it.each([
    ['cache', 8, '0 16 1 17 2 18 3 19 4 20 5 21 6 22 7 23'],
    ['frequency', 8, '8 24 9 25 10 26 11 27 12 28 13 29 14 30 15 31'],
    ['cache', 2, '1 17 2 18'],
    // The rest is of the other, and the host's first CPU stays the host's.
    ['cache', 10, '1 17 2 18 3 19 4 20 5 21 6 22 7 23 8 24 9 25 10 26'],
  ] as const)('with the larger cache or the higher clock (X3D): %s, %i cores', (prefer, cores, expected) => {
    expect(cpusOf(x3d(), { size: { cores }, prefer })).toBe(expected)
    // A driver that tells the same clock for all: the larger cache is the slower one.
    expect(cpusOf(x3d(false), { size: { cores }, prefer })).toBe(expected)
  })

  it('the faster one though the host has its first CPU there', () => {
    const root = cpuTree(smt(4, 2, 4), { ...amd, l3Size: { 1: 98304 } })
    expect(cpusOf(root, { size: { cores: 2 }, prefer: 'frequency' })).toBe('0 4 1 5')
    expect(cpusOf(root, { size: { cores: 2 }, prefer: 'cache' })).toBe('2 6 3 7')
  })

  it('that differ are told of, and so is a preference that decides nothing', () => {
    expect(because(x3d(), { size: { cores: 4 } })).toContain('differ in size')
    expect(because(x3d(), { size: { cores: 4 }, prefer: 'cache' })).toContain('(96 MiB)')
    expect(because(cpuTree(smt(8, 4)), { size: { cores: 4 }, prefer: 'cache' })).toContain(
      'No L3 cluster has a larger cache',
    )
  })

  it('give their favoured cores first when clock is preferred', () => {
    const rows = smt(8).map((row) => ({ ...row, mhz: row.core === 5 || row.core === 6 ? 5300 : 5100 }))
    expect(cpusOf(cpuTree(rows), { size: { cores: 2 }, prefer: 'frequency' })).toBe('5 13 6 14')
    expect(cpusOf(cpuTree(rows), { size: { cores: 2 } })).toBe('1 9 2 10')
  })
})

describe('hybrid', () => {
  it('gives P cores and leaves E cores to the host, though the kernel does not name them', () => {
    const root = cpuTree(hybrid(8, 16))
    expect(efficient(root)).toBe('16-31')
    expect(cpusOf(root, { size: { vcpus: 8 } })).toBe('2 3 4 5 6 7 8 9')
    expect(pin(root, { size: 'all-cores' })).toMatchObject({
      host: times(16, (index) => 16 + index),
      topology: { cores: 8, threads: 2 },
    })
  })

  it('gives E cores when the P cores are too few, and keeps one for the host', () => {
    const most = pin(cpuTree(hybrid(4, 4)), { size: { vcpus: 11 } })
    expect(most).toMatchObject({ host: [11], topology: { cores: 11, threads: 1 }, caches: 'emulate' })
    expect(most.vcpus.map(({ cpu }) => cpu)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(most.reasons.join()).toContain('3 of them are needed')
  })

  it('puts P cores first, whatever their numbers', () => {
    const rows = hybrid(2, 4).map((row) => ({ ...row, cpu: (row.cpu + 4) % 8 }))
    expect(efficient(cpuTree(rows))).toBe('0-3')
    expect(cpusOf(cpuTree(rows), { size: { vcpus: 6 } })).toBe('4 5 6 7 1 2')
  })

  it('is known without SMT, by L2 caches that E cores share', () => {
    expect(efficient(cpuTree(hybrid(8, 16, 1)))).toBe('8-23')
  })

  it('is known by threads and L2 clusters, CPPC or capacity where no clock is told', () => {
    const slow = (row: Row): boolean => row.core >= 100
    const rows = hybrid(2, 4).map(({ mhz: _, ...row }) => row)
    expect(efficient(cpuTree(rows))).toBe('4-7')
    expect(efficient(cpuTree(rows.map((row) => ({ ...row, perf: slow(row) ? 39 : 64 }))))).toBe('4-7')
    expect(efficient(cpuTree(rows.map((row) => ({ ...row, capacity: slow(row) ? 623 : 1024 }))))).toBe('4-7')
  })

  it('is believed when the kernel says so', () => {
    const files = { '/sys/devices/cpu_core/cpus': '0-3\n', '/sys/devices/cpu_atom/cpus': '4-7\n' }
    expect(
      efficient(
        cpuTree(
          hybrid(2, 4).map((row) => ({ ...row, mhz: 3000 })),
          { files },
        ),
      ),
    ).toBe('4-7')
  })

  it('is no Xeon whose cores have two speeds, and no AMD with preferred cores', () => {
    const fast = (row: Row): boolean => row.core < 4
    const xeon = smt(8).map((row) => ({ ...row, mhz: fast(row) ? 3900 : 3100 }))
    expect(efficient(cpuTree(xeon))).toBe('')
    expect(efficient(cpuTree(xeon.slice(0, 8)))).toBe('')
    expect(
      efficient(
        cpuTree(
          smt(8).map((row) => ({ ...row, perf: fast(row) ? 236 : 110 })),
          amd,
        ),
      ),
    ).toBe('')
  })

  it('is no machine with CPUs offline', () => {
    const rows = smt(8).map((row) => ({ ...row, online: row.cpu < 12 }))
    expect(efficient(cpuTree(rows))).toBe('')
  })
})

describe('NUMA', () => {
  const two = cpuTree(smt(12, 6, 6))

  it("the card's node, its first CPU last", () => {
    expect(pin(two, { size: { cores: 3 }, node: 0 })).toMatchObject({ nodes: [0], emulator: [0, 4, 5, 12, 16, 17] })
    expect(cpusOf(two, { size: { cores: 3 }, node: 0 })).toBe('1 13 2 14 3 15')
    expect(cpusOf(two, { size: { cores: 3 }, node: 1 })).toBe('6 18 7 19 8 20')
  })

  it("all of the card's node, when that is what fits: the host keeps the other", () => {
    expect(pin(two, { size: { cores: 6 }, node: 0 })).toMatchObject({
      nodes: [0],
      emulator: [6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23],
    })
  })

  it("a card whose node is not known: the node without the host's first CPU", () => {
    expect(pin(two, { size: { cores: 3 }, node: -1 })).toMatchObject({ nodes: [1] })
    expect(pin(two, { size: { cores: 3 } })).toMatchObject({ nodes: [1] })
  })

  it('more than a node holds: the card has its node, the rest is of the nearest', () => {
    const distances = { 0: '10 21 11 21\n', 1: '21 10 21 11\n', 2: '11 21 10 21\n', 3: '21 11 21 10\n' }
    const four = cpuTree(
      smt(16, 4, 4).map((row) => ({ ...row, socket: (row.node ?? 0) % 2 })),
      { distances },
    )
    expect(pin(four, { size: { cores: 6 }, node: 3 })).toMatchObject({ nodes: [1, 3] })
    expect(pin(four, { size: { cores: 6 }, node: 2 })).toMatchObject({ nodes: [0, 2] })
    expect(cpusOf(four, { size: { cores: 6 }, node: 3 })).toBe('4 20 5 21 12 28 13 29 14 30 15 31')
    expect(because(four, { size: { cores: 6 }, node: 3 })).toContain("the card's (3) among them")
  })

  it('more than a node holds, and no card: nodes that are near to each other', () => {
    const distances = { 0: '10 21 11 21\n', 1: '21 10 21 11\n', 2: '11 21 10 21\n', 3: '21 11 21 10\n' }
    expect(pin(cpuTree(smt(16, 4, 4), { distances }), { size: { cores: 6 } })).toMatchObject({ nodes: [1, 3] })
  })

  it("more than a node holds, and no distances: the rest is of the card's package", () => {
    const rows = smt(16, 4, 4).map((row) => ({ ...row, socket: Math.floor((row.node ?? 0) / 2) }))
    expect(pin(cpuTree(rows), { size: { cores: 6 }, node: 0 })).toMatchObject({ nodes: [0, 1] })
    expect(pin(cpuTree(rows), { size: { cores: 6 }, node: 2 })).toMatchObject({ nodes: [2, 3] })
  })

  it('a card on a node without CPUs: the nearest that has some', () => {
    const rows = smt(8, 4, 4).map((row) => ({ ...row, node: (row.node ?? 0) * 2 }))
    const files = {
      '/sys/devices/system/node/node1/cpulist': '\n',
      '/sys/devices/system/node/node1/distance': '16 10 12\n',
    }
    const root = cpuTree(rows, { files })
    expect(pin(root, { size: { cores: 3 }, node: 1 })).toMatchObject({ nodes: [2] })
    expect(because(root, { size: { cores: 3 }, node: 1 })).toContain('the card is on node 1')
  })
})
