// Expansion ROMs of cards.
import { Buffer } from 'node:buffer'

/** An expansion ROM with images of these code types. */
export function romOf(vendor: number, id: number, ...types: number[]): Buffer {
  return Buffer.concat(
    types.map((type, index) => {
      const image = Buffer.alloc(1024)
      image.writeUInt16LE(0xaa55, 0)
      image.writeUInt16LE(0x40, 0x18)
      image.write('PCIR', 0x40)
      image.writeUInt16LE(vendor, 0x44)
      image.writeUInt16LE(id, 0x46)
      image.writeUInt16LE(2, 0x50)
      image[0x54] = type
      image[0x55] = index === types.length - 1 ? 0x80 : 0
      return image
    }),
  )
}
