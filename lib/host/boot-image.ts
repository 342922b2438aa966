import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import { type CpioBudget, openCpio } from './cpio.ts'
import { emptyFolder, type MemoryNode, openMemoryReader } from './memory-reader.ts'
import { type ByteSource, openPacked, piecesOf, type Unpacker } from './packings.ts'
import { readPeSections } from './pe-sections.ts'
import type { Reader } from './reader.ts'

/**
 * Returns a reader of what an initramfs holds: the files that the kernel unpacks before it starts /init, whose contents
 * are kept up to 64 KiB each, those of modules and firmware not at all. `path` is that of an initrd or of a unified
 * image; `unpacker` runs the program that unpacks what Node cannot. Returns a text for a person, a line that names the
 * path, where this cannot be told: no such file, not readable, of a foreign format, damaged, packed with what is not
 * here. Source: Documentation/driver-api/early-userspace/buffer-format.rst.
 */
export async function readBootImage(files: Reader, path: string, unpacker: Unpacker): Promise<Reader | string> {
  const top = emptyFolder()
  const budget = { kept: 0, unpacked: 0 }
  try {
    const parts = openParts(files, path)
    if (typeof parts === 'string') return `${path} ${parts}`
    for (const part of parts) {
      const unknown = await unpackInto(top, part, unpacker, budget)
      if (unknown !== undefined) return `${path} ${unknown}`
    }
    return openMemoryReader(path, top)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    if (error.code === 'damaged') return `${path} ${DAMAGED}: ${error.message}`
    return error.code === 'missing-program' ? `${path} cannot be unpacked: ${error.message}` : error.message
  }
}

const DAMAGED = 'is damaged'

/** Is this text of `readBootImage` that of an image which ends too early or is otherwise broken? */
export function isDamaged(path: string, text: string): boolean {
  return text.startsWith(`${path} ${DAMAGED}: `)
}

/** Opens an initrd, or the initrds in a unified image; a text says why there is none. */
function openParts(files: Reader, path: string): ByteSource[] | string {
  const size = files.size(path)
  if (size === undefined) return files.exists(path) ? 'is no file' : 'is not there'
  const start = files.bytes(path, 2, 0)
  if (start === undefined) return 'may not be read: try as root'
  if (start.length === 0) return 'is empty'
  const sections = readPeSections(files, path)
  if (sections === undefined) return [openPart(files, path, 0, size)]
  // Behind a second .profile begins what is booted only when a person chooses it.
  const profiles = sections.flatMap(({ name }, index) => (name === '.profile' ? [index] : []))
  const initrds = sections.slice(0, profiles[1]).filter(({ name, length }) => name === '.initrd' && length > 0)
  if (initrds.length === 0) return 'has no initramfs in it'
  if (initrds.some(({ from, length }) => from + length > size)) throw new UserError('damaged', 'it ends too early')
  return initrds.map(({ from, length }) => openPart(files, path, from, length))
}

function openPart(files: Reader, path: string, from: number, size: number): ByteSource {
  return {
    size,
    read(at, length) {
      const bytes = at >= size ? undefined : files.bytes(path, Math.min(length, size - at), from + at)
      return bytes ?? Buffer.alloc(0)
    },
  }
}

/** Unpacks the archives of an initrd one after another into the tree; returns why that ended early, if it did. */
async function unpackInto(
  top: MemoryNode,
  source: ByteSource,
  unpacker: Unpacker,
  budget: CpioBudget,
): Promise<string | undefined> {
  const at = skipZeros(source, 0)
  for (let from = at; from < source.size; from = skipZeros(source, from)) {
    const foreign =
      from === at
        ? 'is no initramfs that is known here'
        : `holds, from byte ${from} on, what is no archive that is known here`
    const archive = openCpio(top, budget)
    if (source.read(from, 4).toString('latin1') === '0707' && from % 4 === 0) {
      for (const piece of piecesOf(source, from)) {
        const taken = archive.write(piece)
        from += taken
        if (taken < piece.length) break
      }
    } else {
      const packed = openPacked(source, from, unpacker)
      if (packed === undefined) return foreign
      let first = true
      for await (const piece of packed.chunks) {
        if (archive.write(piece) === piece.length) first = false
        else if (first) return foreign
        else throw new UserError('damaged', 'what was packed is no archive up to its end')
      }
      from = packed.end()
    }
    archive.end()
  }
  return at < source.size ? undefined : 'is empty'
}

/** Returns where the padding ends that stands between archives. */
function skipZeros(source: ByteSource, from: number): number {
  let at = from
  for (const piece of piecesOf(source, from)) {
    const count = piece.findIndex((byte) => byte !== 0)
    if (count !== -1) return at + count
    at += piece.length
  }
  return at
}
