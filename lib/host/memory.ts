import type { Reader } from './reader.ts'
import { readLines } from './readings.ts'

/** Huge pages of one size. Counts are pages, sizes bytes; unknown is `undefined`. */
export interface HugePages {
  size: number
  total: number | undefined
  free: number | undefined
  /** Promised to a process, but not taken yet: of the free ones. */
  reserved: number | undefined
  /** May be made when they are needed, beyond `total`. */
  overcommit: number | undefined
  /** By NUMA node; empty when the tree does not say. */
  nodes: { node: number; total: number; free: number | undefined }[]
}

export interface Memory {
  /** In bytes. */
  total: number | undefined
  /** What a new process could take without swapping; before Linux 3.14 unknown. */
  available: number | undefined
  /** By size, the smallest first. */
  hugePages: HugePages[]
}

const HUGE = 'hugepages'
const NODES = '/sys/devices/system/node'

/** Source: Documentation/admin-guide/mm/hugetlbpage.rst and proc_meminfo(5). */
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

/** Name → bytes, of /proc/meminfo or a node's (whose lines start with `Node 0`). */
export function readMeminfo(reader: Reader, path: string): Map<string, number> {
  const lines = (readLines(reader, path) ?? []).map((line) => /^(?:Node \d+ )?(\w+):\s*(\d+) kB$/.exec(line) ?? [])
  return new Map(lines.flatMap(([, name, kibibytes]) => (name ? [[name, Number(kibibytes) * 1024] as const] : [])))
}
