import type { Buffer } from 'node:buffer'

/** One image of an expansion ROM. */
export interface RomImage {
  vendor: string
  device: string
  /** The code type: 0 is for a BIOS, 3 for UEFI. */
  type: number
}

export interface ExpansionRom {
  /** The images in their order; none where the bytes are no expansion ROM. */
  images: RomImage[]
  /** Is every image there to its end, and the last one marked as such? */
  whole: boolean
}

/**
 * Returns what an expansion ROM holds.
 * Source: PCI Firmware Specification 3.0, 5.1 (signature 55AA, PCIR, code type, length in 512 bytes, last image).
 */
export function parseRom(data: Buffer): ExpansionRom {
  const images: RomImage[] = []
  const hex = (at: number): string => data.readUInt16LE(at).toString(16).padStart(4, '0')
  for (let at = 0; at + 0x1a < data.length && data.readUInt16LE(at) === 0xaa55; ) {
    const pcir = at + data.readUInt16LE(at + 0x18)
    if (pcir + 0x18 > data.length || data.toString('latin1', pcir, pcir + 4) !== 'PCIR') break
    images.push({ vendor: hex(pcir + 4), device: hex(pcir + 6), type: data[pcir + 0x14] ?? 0 })
    const length = data.readUInt16LE(pcir + 0x10) * 512
    if (length === 0 || at + length > data.length) break
    if (((data[pcir + 0x15] ?? 0) & 0x80) !== 0) return { images, whole: true }
    at += length
  }
  return { images, whole: false }
}
