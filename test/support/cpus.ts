// Fake machines' CPUs, made from rows as lscpu(1) prints them, and real machines' dumps.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Pinning, type PinRequest, pinVcpus } from '../../lib/cpu/pinning.ts'
import { cpuList, readCpus } from '../../lib/host/cpu.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { scratchDir } from './machine.ts'
import { PROJECT, runProgram } from './run.ts'

export interface Row {
  cpu: number
  node?: number
  socket?: number
  core: number
  l2?: number
  l3?: number
  /** [true] */
  online?: boolean
  mhz?: number
  perf?: number
  capacity?: number
}

export interface Around {
  vendor?: 'GenuineIntel' | 'AuthenticAMD'
  flags?: string
  /** Physical ones [not told]. */
  addressBits?: number | null
  /** KiB of each L3 cache by its id [32768]. */
  l3Size?: Readonly<Record<number, number>>
  /** Node → the text of its `distance`. */
  distances?: Readonly<Record<number, string>>
  files?: Readonly<Record<string, string>>
}

const SYSTEM = '/sys/devices/system'

/** A root with the CPUs of these rows, as the kernel shows them. */
export function cpuTree(rows: readonly Row[], around: Around = {}): string {
  const online = rows.filter((row) => row.online !== false)
  const listOf = (like: (row: Row) => boolean): string => `${cpuList(online.filter(like).map(({ cpu }) => cpu))}\n`
  const files: Record<string, string | number | undefined> = {
    [`${SYSTEM}/cpu/online`]: listOf(() => true),
    [`${SYSTEM}/cpu/present`]: `${cpuList(rows.map(({ cpu }) => cpu))}\n`,
    '/proc/cpuinfo': `processor\t: 0\nvendor_id\t: ${around.vendor ?? 'GenuineIntel'}\nmodel name\t: Fake  CPU @ 3.00GHz\nflags\t\t: ${around.flags ?? 'fpu vme vmx topoext'}\n${around.addressBits ? `address sizes\t: ${around.addressBits} bits physical, 48 bits virtual\n` : ''}\n`,
  }
  for (const row of rows) {
    const folder = `${SYSTEM}/cpu/cpu${row.cpu}`
    const { socket = 0 } = row
    files[`${folder}/online`] = row.online === false ? '0\n' : '1\n'
    if (row.online === false) continue
    files[`${folder}/topology/core_id`] = row.core
    files[`${folder}/topology/physical_package_id`] = socket
    files[`${folder}/topology/core_cpus_list`] = listOf((each) => each.core === row.core && each.socket === row.socket)
    files[`${folder}/cpufreq/cpuinfo_max_freq`] = row.mhz === undefined ? undefined : row.mhz * 1000
    files[`${folder}/acpi_cppc/highest_perf`] = row.perf
    files[`${folder}/cpu_capacity`] = row.capacity
    const cache = (index: number, level: number, size: number, cpus: string): void => {
      const at = `${folder}/cache/index${index}`
      Object.assign(files, { [`${at}/level`]: level, [`${at}/type`]: 'Unified\n', [`${at}/size`]: `${size}K\n` })
      files[`${at}/shared_cpu_list`] = cpus
    }
    if (row.l2 !== undefined)
      cache(
        2,
        2,
        1024,
        listOf(({ l2 }) => l2 === row.l2),
      )
    if (row.l3 !== undefined)
      cache(
        3,
        3,
        around.l3Size?.[row.l3] ?? 32768,
        listOf(({ l3 }) => l3 === row.l3),
      )
  }
  for (const node of new Set(rows.flatMap((row) => row.node ?? []))) {
    files[`${SYSTEM}/node/node${node}/cpulist`] = listOf((row) => row.node === node)
    files[`${SYSTEM}/node/node${node}/distance`] = around.distances?.[node]
    files[`${SYSTEM}/node/node${node}/meminfo`] = `Node ${node} MemTotal:  ${1048576 * (node + 1)} kB\n`
  }
  const root = scratchDir('cpus')
  for (const [path, text] of Object.entries({ ...files, ...around.files })) {
    if (text === undefined) continue
    mkdirSync(dirname(root + path), { recursive: true })
    writeFileSync(root + path, typeof text === 'number' ? `${text}\n` : text)
  }
  return root
}

/** What a guest gets on that machine. */
export function pin(root: string, request: PinRequest): Pinning {
  return pinVcpus(readCpus(openReader(root)), request)
}

/** The CPUs in the order of the vCPUs. */
export const cpusOf = (root: string, request: PinRequest): string =>
  pin(root, request)
    .vcpus.map(({ cpu }) => cpu)
    .join(' ')
export const because = (root: string, request: PinRequest): string => pin(root, request).reasons.join('\n')

/** A pinning as a person would write it down. */
export function pinningText({ vcpus, topology, ...rest }: Pinning): string {
  const { sockets, dies, cores, threads } = topology
  return [
    `  vcpus ${vcpus.map(({ cpu }) => cpu).join(' ')}`,
    `  topology ${sockets} socket, dies ${dies}, cores ${cores}, threads ${threads}, caches ${rest.caches}${rest.topoext ? ', topoext' : ''}`,
    `  nodes ${cpuList(rest.nodes) || 'unknown'}  host ${cpuList(rest.host)}  emulator ${cpuList(rest.emulator)}  iothread ${cpuList(rest.iothread)}  idle ${cpuList(rest.idle) || 'none'}`,
    ...rest.reasons.map((reason) => `  - ${reason}`),
    '',
  ].join('\n')
}

export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index))

/** Cores with two threads, N and N + cores; an L3 cluster each `perL3` cores, a node each `perNode`. */
export const smt = (cores: number, perL3 = cores, perNode = cores): Row[] =>
  times(cores * 2, (cpu) => {
    const core = cpu % cores
    const node = Math.floor(core / perNode)
    return { cpu, core, l2: core, l3: Math.floor(core / perL3), node, socket: node, mhz: 5000 }
  })

/** P cores first, each with that many threads; E cores in fours with one L2 cache. */
export const hybrid = (fast: number, slow: number, threads = 2): Row[] => [
  ...times(fast * threads, (cpu) => {
    const core = Math.floor(cpu / threads)
    return { cpu, core: core * 4, l2: core, l3: 0, node: 0, mhz: core === 2 ? 5800 : 5500 }
  }),
  ...times(slow, (index) => {
    const number = fast * threads + index
    return { cpu: number, core: 100 + index, l2: 100 + Math.floor(index / 4), l3: 0, node: 0, mhz: 4600 }
  }),
]

/** Rows of `lscpu -e`, in any language: the columns are CPU NODE SOCKET CORE L1d:L1i:L2:L3 ONLINE MAXMHZ. */
export function lscpuRows(text: string): Row[] {
  const number = (field: string | undefined): number | undefined =>
    field === undefined || !/^\d/.test(field) ? undefined : Number(field.replace(',', '.'))
  return text.split('\n').flatMap((line): Row[] => {
    const [cpu, node, socket, core, caches = '', online = '', mhz] = line.trim().split(/\s+/)
    if (!/^\d+$/.test(cpu ?? '') || !caches.includes(':')) return []
    const [, , l2, l3] = caches.split(':')
    const row = { cpu: Number(cpu), core: number(core) ?? -1, online: !/^(no|non)$/.test(online) }
    const optional = { node: number(node), socket: number(socket), l2: number(l2), l3: number(l3), mhz: number(mhz) }
    return [Object.assign(row, Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined)))]
  })
}

// Real machines, kept beside the checkout where there are any; they are nobody's to redistribute.
export const DUMPS = `${PROJECT}../shared/machines`

/** The archives of CPU dumps by name, and nothing where there are none. */
export function dumpArchives(): Map<string, string> {
  const folders = ['cpu/hwloc', 'cpu/util-linux-lscpu', 'cpu/sysfs-k8s', 'sysfs/snapshots'].map(
    (name) => `${DUMPS}/${name}`,
  )
  return new Map(
    folders
      .filter((folder) => existsSync(folder))
      .flatMap((folder) => readdirSync(folder).map((name) => `${folder}/${name}`))
      .filter(
        (path) =>
          /(?<!\.t)tar\.(gz|bz2|xz)$/.test(path) && !path.includes('cpuid-AMD') && !path.includes('cpuid-Intel'),
      )
      .map((path) => [path.replace(/.*\/|\.tar\.\w+$/g, ''), path]),
  )
}

/** Unpacks one and finds its roots: the folders with a sys/devices/system/cpu. */
export function dumpRoots(archive: string): string[] {
  const dir = scratchDir('dump')
  runProgram('tar', ['-xf', archive, '-C', dir, '--no-same-owner'])
  runProgram('chmod', ['-R', 'u+rwX', dir])
  const found = runProgram('find', [dir, '-type', 'd', '-path', '*/sys/devices/system/cpu'])
  return found.stdout
    .split('\n')
    .filter(Boolean)
    .map((path) => path.slice(0, -'/sys/devices/system/cpu'.length))
    .sort()
}
