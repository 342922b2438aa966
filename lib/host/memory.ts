import type { Reader } from './reader.ts'
import { readLines } from './readings.ts'

/** The huge pages of one size. Counts are pages, sizes bytes; unknown is `undefined`. */
interface HugePages {
  size: number
  total: number | undefined
  free: number | undefined
  /** The free pages that are promised to a process, but not taken yet. */
  reserved: number | undefined
  /** The pages beyond `total` that may be made when they are needed. */
  overcommit: number | undefined
  /** The pages of each NUMA node; empty when the tree does not say. */
  nodes: { node: number; total: number; free: number | undefined }[]
}

export interface Memory {
  /** The memory in bytes. */
  total: number | undefined
  /** The bytes that a new process could take without swapping; unknown before Linux 3.14. */
  available: number | undefined
  /** The huge pages of each size, the smallest first. */
  hugePages: HugePages[]
}

const HUGE = 'hugepages'
const NODES = '/sys/devices/system/node'

/** Reads the memory and its huge pages. Source: Documentation/admin-guide/mm/hugetlbpage.rst and proc_meminfo(5). */
export function readMemory(reader: Reader): Memory {
  const meminfo = readMeminfo(reader, '/proc/meminfo')
  const nodes = (reader.list(NODES) ?? []).flatMap((name) => /^node(\d+)$/.exec(name)?.[1] ?? []).map(Number)
  nodes.sort((one, other) => one - other)
  const pages = (reader.list(`/sys/kernel/mm/${HUGE}`) ?? []).flatMap((name): HugePages[] => {
    const [, kibibytes] = /^hugepages-(\d+)kB$/.exec(name) ?? []
    if (kibibytes === undefined) return []
    const count = (folder: string, what: string): number | undefined => {
      const text = reader.text(`${folder}/${HUGE}/${name}/${what}`)
      return text === undefined ? undefined : Number(text)
    }
    const all = (what: string): number | undefined => count('/sys/kernel/mm', what)
    return [
      {
        size: Number(kibibytes) * 1024,
        total: all('nr_hugepages'),
        free: all('free_hugepages'),
        reserved: all('resv_hugepages'),
        overcommit: all('nr_overcommit_hugepages'),
        nodes: nodes.flatMap((node) => {
          const folder = `${NODES}/node${node}`
          const total = count(folder, 'nr_hugepages')
          return total === undefined ? [] : [{ node, total, free: count(folder, 'free_hugepages') }]
        }),
      },
    ]
  })
  pages.sort((one, other) => one.size - other.size)
  return { total: meminfo.get('MemTotal'), available: meminfo.get('MemAvailable'), hugePages: pages }
}

/** Returns the bytes of each name in /proc/meminfo or in a node's (whose lines start with `Node 0`). */
export function readMeminfo(reader: Reader, path: string): Map<string, number> {
  const lines = (readLines(reader, path) ?? []).map((line) => /^(?:Node \d+ )?(\w+):\s*(\d+) kB$/.exec(line) ?? [])
  return new Map(lines.flatMap(([, name, kibibytes]) => (name ? [[name, Number(kibibytes) * 1024] as const] : [])))
}
