import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { coresOf } from '../../lib/cpu/cores.ts'
import { cpuList, parseCpuList, readCpus } from '../../lib/host/cpu.ts'
import { readMemory } from '../../lib/host/memory.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { cpuTree, dumpArchives, dumpRoots, lscpuRows } from '../support/cpus.ts'
import { scratchDir } from '../support/machine.ts'
import { needs, REAL_FILES, sampleOf } from '../support/needs.ts'
import { has, runProgram } from '../support/run.ts'

describe('lists of CPUs', () => {
  it.each([
    ['0-3,8', [0, 1, 2, 3, 8]],
    ['', []],
    ['7', [7]],
  ])('%s', (text, numbers) => {
    expect(parseCpuList(`${text}\n`)).toEqual(numbers)
    expect(cpuList(numbers)).toBe(text)
  })

  it('are written in numeric order, each CPU once', () => {
    expect(cpuList([10, 9, 2, 1, 2, 0, 12])).toBe('0-2,9-10,12')
  })

  it('that are something else are unknown', () => {
    expect([parseCpuList('0-'), parseCpuList('all'), parseCpuList(undefined)]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })
})

describe('CPUs', () => {
  it('are read with all that the kernel says of them, in numeric order', () => {
    const rows = [10, 9, 0].map((cpu) => ({
      cpu,
      node: 0,
      core: cpu,
      l2: cpu,
      l3: 0,
      mhz: 3000,
      perf: 40,
      capacity: 1024,
    }))
    const machine = readCpus(openReader(cpuTree([...rows, { cpu: 2, core: 0, online: false }])))
    expect(machine.cpus.map(({ number, online }) => [number, online])).toEqual([
      [0, true],
      [2, false],
      [9, true],
      [10, true],
    ])
    expect(machine).toMatchObject({
      vendor: 'intel',
      model: 'Fake  CPU @ 3.00GHz',
      flags: ['fpu', 'vme', 'vmx', 'topoext'],
    })
    expect(machine.nodes).toEqual([
      { number: 0, cpus: [0, 9, 10], memory: 2 ** 30, free: undefined, distances: undefined },
    ])
    expect(machine.cpus[2]).toEqual({
      number: 9,
      online: true,
      core: 9,
      package: 0,
      die: undefined,
      cluster: undefined,
      siblings: [9],
      caches: [
        { level: 2, type: 'Unified', size: 2 ** 20, cpus: [9], id: undefined },
        { level: 3, type: 'Unified', size: 2 ** 25, cpus: [0, 9, 10], id: undefined },
      ],
      node: 0,
      capacity: 1024,
      highestPerf: 40,
      maxFrequency: 3_000_000,
      baseFrequency: undefined,
    })
    expect(machine.cpus[1]).toMatchObject({ core: undefined, siblings: undefined, caches: undefined, node: undefined })
  })

  it('of other kernels are read too: siblings before Linux 5.3, nodes by mask alone or with a NUL at the end', () => {
    const system = '/sys/devices/system'
    const files = {
      [`${system}/cpu/cpu4/topology/thread_siblings_list`]: '4,36\n',
      [`${system}/node/node0/cpumap`]: '00000001,00000003\n',
      [`${system}/node/node1/cpulist`]: '4,36\n\0',
    }
    const { cpus, nodes } = readCpus(openReader(cpuTree([], { files })))
    expect(cpus.map(({ number, siblings, node }) => [number, siblings, node])).toEqual([[4, [4, 36], 1]])
    expect(nodes?.map((node) => node.cpus)).toEqual([
      [0, 1, 32],
      [4, 36],
    ])
  })

  it('of a machine that says nothing are none', () => {
    expect(readCpus(openReader(scratchDir('empty')))).toEqual({ cpus: [] })
  })
})

describe('memory', () => {
  it('is read with huge pages of each size and node, the smallest first', () => {
    const root = scratchDir('memory')
    const pages = (folder: string, kibibytes: number, total: number, free: number): Record<string, string> => ({
      [`${folder}/hugepages/hugepages-${kibibytes}kB/nr_hugepages`]: `${total}\n`,
      [`${folder}/hugepages/hugepages-${kibibytes}kB/free_hugepages`]: `${free}\n`,
    })
    const node = (number: number): string => `/sys/devices/system/node/node${number}`
    const files = {
      '/proc/meminfo': 'MemTotal:       16384 kB\nMemFree:    1 kB\nMemAvailable:   8192 kB\nHugePages_Total:  4\n',
      ...pages('/sys/kernel/mm', 2048, 4, 3),
      ...pages('/sys/kernel/mm', 1048576, 0, 0),
      ...pages(node(2), 2048, 1, 0),
      ...pages(node(10), 2048, 3, 3),
      '/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages': '2\n',
    }
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(root + path), { recursive: true })
      writeFileSync(root + path, text)
    }
    expect(readMemory(openReader(root))).toEqual({
      total: 2 ** 24,
      available: 2 ** 23,
      hugePages: [
        {
          size: 2 ** 21,
          total: 4,
          free: 3,
          reserved: 2,
          nodes: [
            { node: 2, total: 1, free: 0 },
            { node: 10, total: 3, free: 3 },
          ],
        },
        { size: 2 ** 30, total: 0, free: 0, nodes: [] },
      ],
    })
  })
})

const dumps = has('lscpu') && has('tar') ? [...dumpArchives()] : []

needs(REAL_FILES, dumps.length > 0).describe(`lscpu on real machines`, () => {
  it.each(sampleOf(dumps, 6))('%s: which CPUs are online, of one core, one L3 and one node', (name, archive) => {
    for (const root of dumpRoots(archive)) {
      const machine = readCpus(openReader(root))
      const ran = runProgram('lscpu', ['-s', root, '-e=CPU,NODE,SOCKET,CORE,CACHE,ONLINE,MAXMHZ', '-a'])
      const titles = ran.stdout.split('\n')[0] ?? ''
      const rows = ran.stdout
        .split('\n')
        .slice(1)
        .filter(Boolean)
        .map((line) => line.trim().split(/\s+/))
      const column = (name: string): number =>
        titles
          .trim()
          .split(/\s+/)
          .findIndex((title) => title.startsWith(name))
      // It knows no CPU of some machines that it was not built for.
      if (rows.every(([cpu]) => cpu === '-')) continue
      const groups = (key: (row: string[]) => string | undefined): string[] =>
        textGroups(
          rows.flatMap((row) =>
            key(row) === undefined || key(row) === '-' ? [] : [[key(row), Number(row[column('CPU')])] as const],
          ),
        )
      const online = machine.cpus.filter((cpu) => cpu.online)
      const at = (name: string) => (row: string[]) =>
        column(name) < 0 || isOffline(row) ? undefined : row[column(name)]
      const isOffline = (row: string[]): boolean => column('ONLINE') >= 0 && row[column('ONLINE')] === 'no'
      expect(cpuList(online.map(({ number }) => number))).toBe(
        cpuList(rows.filter((row) => !isOffline(row)).map((row) => Number(row[column('CPU')]))),
      )
      // lscpu sees one package of the three here, and takes cores of the same number for one.
      if (column('CORE') >= 0 && !name.startsWith('arm-A510'))
        expect(
          coresOf(machine)
            .map(({ cpus }) => cpuList(cpus))
            .sort(),
        ).toEqual(groups(at('CORE')))
      if (column('NODE') >= 0)
        expect(
          textGroups(online.flatMap((cpu) => (cpu.node === undefined ? [] : [[cpu.node, cpu.number] as const]))),
        ).toEqual(groups(at('NODE')))
      const caches = titles.match(/\S*L3\S*/)?.[0]
      const l3 = online.flatMap((cpu) => {
        const cache = cpu.caches?.find(({ level }) => level === 3)
        return cache?.cpus === undefined ? [] : [[cache.cpus.join(), cpu.number] as const]
      })
      if (caches !== undefined && l3.length > 0)
        expect(textGroups(l3)).toEqual(groups((row) => at(caches)(row)?.split(':')[caches.split(':').indexOf('L3')]))
    }
  })
})

function textGroups(pairs: readonly (readonly [unknown, number])[]): string[] {
  const groups = new Map<unknown, number[]>()
  for (const [key, cpu] of pairs) groups.set(key, [...(groups.get(key) ?? []), cpu])
  return [...groups.values()].map(cpuList).sort()
}

it('rows of lscpu are read in any language', () => {
  expect(
    lscpuRows(
      'CPU NODE SOCKET CORE L1d:L1i:L2:L3 ONLINE MAXMHZ\n 4 0 0 2 8:8:2:0 oui 4900,5000\n 5 - - - 0:0:0 non -\n',
    ),
  ).toEqual([
    { cpu: 4, node: 0, socket: 0, core: 2, l2: 2, l3: 0, online: true, mhz: 4900.5 },
    { cpu: 5, core: -1, l2: 0, online: false },
  ])
})
