import { parseCpuList } from './cpu.ts'
import type { Reader } from './reader.ts'
import { readLines } from './readings.ts'

/** A thread of a process: its name, and the CPUs that it may run on; `null` when these were not seen. */
export interface ProcessThread {
  id: number
  name: string
  cpus: number[] | null
}

/** Reads the threads of a process; `undefined` when there is no such process. Source: proc(5), proc_pid_status(5). */
export function readThreads(reader: Reader, pid: number): ProcessThread[] | undefined {
  return reader.list(`/proc/${pid}/task`)?.map((id) => {
    const status = reader.optionalText(`/proc/${pid}/task/${id}/status`) ?? ''
    return {
      id: Number(id),
      name: /^Name:\s*(.*)$/m.exec(status)?.[1] ?? '',
      cpus: parseCpuList(/^Cpus_allowed_list:\s*(\S*)$/m.exec(status)?.[1]) ?? null,
    }
  })
}

/**
 * Reads how much of a process's memory is huge pages: size of a page in KiB → KiB that are in use. `undefined` when it
 * may not be read. Source: Documentation/filesystems/proc.rst (smaps: KernelPageSize, Shared_Hugetlb, Private_Hugetlb).
 */
export function readHugePagesInUse(reader: Reader, pid: number): Map<number, number> | undefined {
  // A guest's is longer than an attribute.
  const text = reader.optionalBytes(`/proc/${pid}/smaps`)?.toString('latin1')
  if (text === undefined) return undefined
  const found = new Map<number, number>()
  let page = 0
  for (const [, key, kib] of text.matchAll(/^(KernelPageSize|Shared_Hugetlb|Private_Hugetlb):\s*(\d+) kB$/gm)) {
    if (key === 'KernelPageSize') page = Number(kib)
    else if (kib !== '0') found.set(page, (found.get(page) ?? 0) + Number(kib))
  }
  return found
}

/** An interrupt that vfio handles for a device: its number, and its kind as vfio names it (`msi`, `msix`, `intx`). */
export interface VfioInterrupt {
  irq: number
  kind: string
  /** The CPUs that it may come to, as the kernel lists them. */
  cpus: string | null
}

/** Reads the interrupts that vfio handles for a device. Source: drivers/vfio/pci/vfio_pci_intrs.c. */
export function readVfioInterrupts(reader: Reader, address: string): VfioInterrupt[] | undefined {
  return readLines(reader, '/proc/interrupts')?.flatMap((line) => {
    const [, irq, kind, at] = /^\s*(\d+):.*\bvfio-(intx|msix?)(?:\[\d+\])?\(([0-9a-f:.]+)\)/.exec(line) ?? []
    if (irq === undefined || kind === undefined || at !== address) return []
    const cpus = ['effective_affinity_list', 'smp_affinity_list'].map((file) =>
      reader.optionalText(`/proc/irq/${irq}/${file}`)?.trim(),
    )
    return [{ irq: Number(irq), kind, cpus: cpus.find(Boolean) ?? null }]
  })
}
