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
