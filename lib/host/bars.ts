import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

const IORESOURCE_MEM = 0x200n
const IORESOURCE_PREFETCH = 0x2000n
const IORESOURCE_MEM_64 = 0x100000n

/**
 * Returns the sizes in bytes of a function's 64-bit memory windows (BARs), which a firmware places above 4 GiB.
 * Source: /sys/…/resource, where each line is a window: start, end, flags (include/linux/ioport.h).
 */
export function readBars(reader: Reader, device: PciDevice): number[] {
  const lines = (reader.text(`${device.path}/resource`) ?? '').split('\n').slice(0, 6)
  return lines.flatMap((line) => {
    const fields = /^(0x[0-9a-f]+) (0x[0-9a-f]+) (0x[0-9a-f]+)$/i.exec(line)?.slice(1).map(BigInt) ?? []
    const [start, end, flags] = fields
    if (start === undefined || end === undefined || flags === undefined || end <= start) return []
    const wide = (flags & IORESOURCE_MEM) !== 0n && (flags & (IORESOURCE_PREFETCH | IORESOURCE_MEM_64)) !== 0n
    return wide ? [Number(end - start + 1n)] : []
  })
}

/** A window of a card whose size can be changed (Resizable BAR). */
export interface ResizableBar {
  /** The number of the window: 0 to 5. */
  bar: number
  /** The present size in bytes; `null` where nothing is placed there. */
  size: number | null
  /** The sizes in bytes that the card offers, the smallest first. */
  sizes: number[]
}

/**
 * Reads the windows of a function that can be resized (Linux 6.1 and later); none where the kernel shows none.
 * Source: Documentation/ABI/testing/sysfs-bus-pci, resource<N>_resize: bit n of the bitmap is a size of 2^n MiB.
 */
export function readResizableBars(reader: Reader, { path }: PciDevice): ResizableBar[] {
  const lines = (reader.optionalText(`${path}/resource`) ?? '').split('\n')
  return [0, 1, 2, 3, 4, 5].flatMap((bar) => {
    const text = reader.optionalText(`${path}/resource${bar}_resize`)?.trim()
    if (text === undefined || !/^[0-9a-f]{1,16}$/i.test(text)) return []
    const bitmap = BigInt(`0x${text}`)
    const sizes = Array.from({ length: 44 }, (_, bit) => bit).filter((bit) => (bitmap & (1n << BigInt(bit))) !== 0n)
    const [start = 0n, end = 0n] = (lines[bar] ?? '').split(' ').map((word) => (/^0x/.test(word) ? BigInt(word) : 0n))
    return [{ bar, size: end > start ? Number(end - start + 1n) : null, sizes: sizes.map((bit) => 2 ** (bit + 20)) }]
  })
}
