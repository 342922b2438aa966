import { cpuVendor } from './kernel.ts'
import { readMeminfo } from './memory.ts'
import type { Reader } from './reader.ts'

/** One cache, as one CPU has it. */
export interface CpuCache {
  level: number
  /** The type: `Data`, `Instruction` or `Unified`. */
  type: string | undefined
  /** The size in bytes. */
  size: number | undefined
  /** The online CPUs that share it. */
  cpus: number[] | undefined
  id: number | undefined
}

/** One logical CPU. Unknown is `undefined`, and so is what the kernel does not say of an offline CPU. */
export interface Cpu {
  number: number
  online: boolean
  core: number | undefined
  package: number | undefined
  die: number | undefined
  cluster: number | undefined
  /** The online CPUs of its core, including itself. */
  siblings: number[] | undefined
  /** The caches, sorted by level. */
  caches: CpuCache[] | undefined
  node: number | undefined
  /** The capacity compared with the fastest CPU of the machine, which has 1024. */
  capacity: number | undefined
  /** The highest performance by ACPI CPPC, on a scale of the machine's own. */
  highestPerf: number | undefined
  /** The maximum frequency in kHz. */
  maxFrequency: number | undefined
  /** The base frequency in kHz. */
  baseFrequency: number | undefined
}

export interface NumaNode {
  number: number
  /** The CPUs of the node; empty in a node of memory alone. */
  cpus: number[]
  /** The memory in bytes; 0 in a node without memory. */
  memory: number | undefined
  free: number | undefined
  /** The distance to each node by its number; 10 is the node itself (ACPI SLIT). */
  distances: Map<number, number> | undefined
}

/** The machine's CPUs and its NUMA nodes. */
export interface Cpus {
  /** The CPUs present, including offline ones, in numeric order; empty when the tree does not say. */
  cpus: Cpu[]
  /** The nodes in numeric order; `undefined` for a kernel without NUMA, or when the tree does not say. */
  nodes: NumaNode[] | undefined
  vendor: 'intel' | 'amd' | undefined
  model: string | undefined
  flags: string[] | undefined
  /** Is it x86? `undefined`: /proc/cpuinfo does not say. */
  x86: boolean | undefined
  /** The number of bits of a physical address. */
  addressBits: number | undefined
  /** The performance cores of a hybrid Intel CPU, where the kernel names them; `efficient` has the others. */
  performance: number[] | undefined
  efficient: number[] | undefined
}

const SYSTEM = '/sys/devices/system'

/**
 * Reads the machine's CPUs, their caches and NUMA nodes.
 * Source: Documentation/ABI/stable/sysfs-devices-system-cpu, sysfs-devices-node and testing/sysfs-devices-system-cpu.
 */
export function readCpus(reader: Reader): Cpus {
  const present = numbersOf(reader, `${SYSTEM}/cpu`, 'cpu')
  const online = parseCpuList(reader.text(`${SYSTEM}/cpu/online`))
  const nodes = numbersOf(reader, `${SYSTEM}/node`, 'node')
  const readNodes = nodes.length === 0 ? undefined : nodes.map((node) => readNumaNode(reader, node, nodes))
  const nodeOf = new Map(readNodes?.flatMap(({ number, cpus }) => cpus.map((cpu) => [cpu, number] as const)))
  const cpuinfo = readCpuinfo(reader)
  return {
    cpus: present.map((number) => readCpu(reader, number, online, nodeOf.get(number))),
    nodes: readNodes,
    vendor: cpuVendor(reader) ?? undefined,
    model: cpuinfo.get('model name'),
    x86: isX86(cpuinfo),
    addressBits: addressBitsOf(cpuinfo.get('address sizes')),
    flags: (cpuinfo.get('flags') ?? cpuinfo.get('Features'))?.split(/\s+/),
    performance: parseCpuList(reader.text('/sys/devices/cpu_core/cpus')),
    efficient: parseCpuList(reader.text('/sys/devices/cpu_atom/cpus')),
  }
}

/** Parses the kernel's list format: `0-2,8` → 0, 1, 2, 8; `undefined` when the text is something else. */
export function parseCpuList(text: string | undefined): number[] | undefined {
  const numbers: number[] = []
  for (const range of attributeText(text).split(',').filter(Boolean)) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range) ?? []
    if (first === undefined) return undefined
    for (let number = Number(first); number <= Number(last); number++) numbers.push(number)
  }
  return text === undefined ? undefined : numbers
}

/** Returns numbers in the list format that the kernel, libvirt and taskset(1) read: 0, 1, 2, 8 → `0-2,8`. */
export function cpuList(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].sort((one, other) => one - other)
  const starts = sorted.filter((number, index) => sorted[index - 1] !== number - 1)
  const ends = sorted.filter((number, index) => sorted[index + 1] !== number + 1)
  return starts.map((start, index) => (start === ends[index] ? `${start}` : `${start}-${ends[index]}`)).join(',')
}

/** Parses a mask, which is all that some captured machines have: `00000000,00000107` → 0, 1, 2, 8. */
function parseCpuMask(text: string | undefined): number[] | undefined {
  const digits = attributeText(text).replace(/,/g, '')
  if (!/^[0-9a-f]+$/.test(digits)) return undefined
  const bits = [...BigInt(`0x${digits}`).toString(2)].reverse()
  return bits.flatMap((bit, number) => (bit === '1' ? [number] : []))
}

/** Returns an attribute without the NUL with which Linux 5.15 ended the lists of nodes. */
function attributeText(attribute = ''): string {
  return (attribute.split('\0')[0] ?? '').trim()
}

/** Returns the N of each `cpuN` (or other `kind`) in a folder, in numeric order. */
function numbersOf(reader: Reader, folder: string, kind: string): number[] {
  return (reader.list(folder) ?? [])
    .filter((name) => name.startsWith(kind) && /^\d+$/.test(name.slice(kind.length)))
    .map((name) => Number(name.slice(kind.length)))
    .sort((one, other) => one - other)
}

function readCpu(reader: Reader, number: number, online: number[] | undefined, node: number | undefined): Cpu {
  const folder = `${SYSTEM}/cpu/cpu${number}`
  const read = (name: string): number | undefined => readNumber(reader, `${folder}/${name}`)
  const core = read('topology/core_id')
  return {
    number,
    // A captured machine may lack the list. The kernel has no topology for an offline CPU.
    online: online?.includes(number) ?? ((read('online') ?? 1) !== 0 && core !== undefined),
    core,
    package: read('topology/physical_package_id'),
    die: read('topology/die_id'),
    cluster: read('topology/cluster_id'),
    siblings: parseCpuList(
      reader.text(`${folder}/topology/core_cpus_list`) ?? reader.text(`${folder}/topology/thread_siblings_list`),
    ),
    caches: readCaches(reader, `${folder}/cache`),
    node,
    capacity: read('cpu_capacity'),
    highestPerf: read('acpi_cppc/highest_perf'),
    maxFrequency: read('cpufreq/cpuinfo_max_freq'),
    baseFrequency: read('cpufreq/base_frequency'),
  }
}

function readCaches(reader: Reader, folder: string): CpuCache[] | undefined {
  const caches = numbersOf(reader, folder, 'index').flatMap((index): CpuCache[] => {
    const read = (name: string): string | undefined => reader.text(`${folder}/index${index}/${name}`)
    const level = readNumber(reader, `${folder}/index${index}/level`)
    if (level === undefined) return []
    const [, kibibytes] = /^(\d+)K$/.exec(read('size') ?? '') ?? []
    const id = readNumber(reader, `${folder}/index${index}/id`)
    const size = kibibytes === undefined ? undefined : Number(kibibytes) * 1024
    return [{ level, type: read('type'), size, cpus: parseCpuList(read('shared_cpu_list')), id }]
  })
  return caches.length === 0 ? undefined : caches.sort((one, other) => one.level - other.level)
}

function readNumaNode(reader: Reader, number: number, nodes: readonly number[]): NumaNode {
  const folder = `${SYSTEM}/node/node${number}`
  const meminfo = readMeminfo(reader, `${folder}/meminfo`)
  const distances = reader.text(`${folder}/distance`)?.trim().split(/\s+/).map(Number)
  return {
    number,
    cpus: parseCpuList(reader.text(`${folder}/cpulist`)) ?? parseCpuMask(reader.text(`${folder}/cpumap`)) ?? [],
    memory: meminfo.get('MemTotal'),
    free: meminfo.get('MemFree'),
    // The file has one distance for each online node, in the order of the nodes.
    distances:
      distances?.length === nodes.length
        ? new Map(nodes.map((node, index) => [node, distances[index] ?? 0]))
        : undefined,
  }
}

/** Reads the first CPU's part of /proc/cpuinfo. */
function readCpuinfo(reader: Reader): Map<string, string> {
  const text = reader.optionalBytes('/proc/cpuinfo', 32_768)?.toString('latin1') ?? ''
  const lines = (text.split('\n\n')[0] ?? '').split('\n')
  return new Map(lines.map((line) => [line.replace(/\s*:.*/s, ''), line.replace(/^[^:]*:\s*/, '').trim()]))
}

/** Is it x86? Each architecture's /proc/cpuinfo has words of its own (arch/ARCH/kernel in Linux). */
function isX86(cpuinfo: ReadonlyMap<string, string>): boolean | undefined {
  if (cpuinfo.has('flags') || cpuinfo.has('address sizes')) return true
  const others = [
    'Features',
    'CPU implementer',
    'features',
    'isa',
    'cpu',
    'cpu model',
    'CPU Family',
    'bogomips per cpu',
  ]
  return others.some((name) => cpuinfo.has(name)) ? false : undefined
}

/** Returns the bits of a physical address: `39 bits physical, 48 bits virtual` → 39. */
function addressBitsOf(text: string | undefined): number | undefined {
  const [, bits] = /^(\d+) bits physical/.exec(text ?? '') ?? []
  return bits === undefined ? undefined : Number(bits)
}

/**
 * Reads an attribute that holds a whole number; `undefined` for anything else, and for -1, drivers' word for "none".
 */
function readNumber(reader: Reader, path: string): number | undefined {
  const text = reader.text(path)?.trim() ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
