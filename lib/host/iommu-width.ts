import type { Reader } from './reader.ts'

/**
 * Returns the address bits that every Intel IOMMU of the machine has (MGAW, which is kept less 1 in bits 21 to 16 of
 * its capability register); `null`: there is none, or it does not say. AMD's IOMMUs are as wide as their CPUs.
 * Source: Intel VT-d specification, 11.4.2; /sys/class/iommu/dmarN/intel-iommu/cap.
 */
export function readIommuBits(reader: Reader): number | null {
  const bits = (reader.list('/sys/class/iommu') ?? []).flatMap((name) => {
    const text = reader.text(`/sys/class/iommu/${name}/intel-iommu/cap`)?.trim() ?? ''
    return /^[0-9a-f]{1,16}$/i.test(text) ? [Number((BigInt(`0x${text}`) >> 16n) & 0x3fn) + 1] : []
  })
  return bits.length === 0 ? null : Math.min(...bits)
}
