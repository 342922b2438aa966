import type { Reader } from './reader.ts'

/** A section of a PE file: where in the file its bytes are, without padding. */
export interface PeSection {
  name: string
  from: number
  length: number
}

/**
 * Returns the sections of a PE file in their order; `undefined` where the file is absent, may not be read or is none.
 * Source: the PE format (a table of sections behind the optional header).
 */
export function readPeSections(files: Reader, path: string): PeSection[] | undefined {
  const start = files.optionalBytes(path, 0x40, 0)
  if (start === undefined || start.length < 0x40 || start.toString('latin1', 0, 2) !== 'MZ') return undefined
  const at = start.readUInt32LE(0x3c)
  const header = files.optionalBytes(path, 24, at)
  if (header === undefined || header.length < 24 || header.toString('latin1', 0, 4) !== 'PE\0\0') return undefined
  const count = header.readUInt16LE(6)
  const table = files.optionalBytes(path, 40 * count, at + 24 + header.readUInt16LE(20))
  if (table === undefined || table.length < 40 * count) return undefined
  return Array.from({ length: count }, (_, index) => {
    const section = table.subarray(40 * index, 40 * index + 40)
    return {
      name: section.toString('latin1', 0, 8).replace(/\0+$/, ''),
      from: section.readUInt32LE(20),
      length: Math.min(section.readUInt32LE(8), section.readUInt32LE(16)),
    }
  })
}
