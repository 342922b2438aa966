import { Buffer } from 'node:buffer'
import { createRequire } from 'node:module'
import type { Duplex } from 'node:stream'
import { UserError } from '../core/error.ts'

// The ways in which the archives of an initramfs are compressed, and where each compressed part ends: other archives may
// follow. Source: lib/decompress.c of the kernel.

/** Bytes that are read as they are needed. */
export interface ByteSource {
  size: number
  /** Returns the bytes from `at` on: fewer than `length` only at the end. */
  read(at: number, length: number): Buffer
}

/** Returns what a program of the host writes when it is given these bytes. Throws a UserError when it is missing or fails. */
export type Unpacker = (argv: readonly string[], input: Iterable<Buffer>) => AsyncIterable<Buffer>

/** A compressed part of a file: what it holds and, once that was read, where it ends. */
export interface Unpacked {
  chunks: AsyncIterable<Buffer>
  end(): number
}

interface Packing {
  magic: string
  unpack(source: ByteSource, at: number, unpacker: Unpacker): Unpacked
}

const CHUNK = 1 << 20
const LZ4_MAGIC = 0x184c2102
/** The most that lz4 makes of a block of 8 MiB: LZ4_COMPRESSBOUND in include/linux/lz4.h. */
const LZ4_BLOCK = (8 << 20) + Math.floor((8 << 20) / 255) + 16

const PACKINGS: readonly Packing[] = [
  { magic: '1f8b', unpack: gunzipPart },
  { magic: '28b52ffd', unpack: unzstdPart },
  { magic: 'fd377a585a00', unpack: byProgram(['xz', '-dc'], endOfXz) },
  { magic: '02214c18', unpack: byProgram(['lz4', '-dc'], endOfLz4) },
  { magic: '5d0000', unpack: byProgram(['xz', '--format=lzma', '-dc']) },
  { magic: '425a68', unpack: byProgram(['bzip2', '-dc']) },
  { magic: '894c5a4f000d0a1a0a', unpack: byProgram(['lzop', '-dc']) },
]

/** Opens the compressed part that begins at `at`; `undefined` where none does that the kernel knows. */
export function openPacked(source: ByteSource, at: number, unpacker: Unpacker): Unpacked | undefined {
  const start = source.read(at, 16).toString('hex')
  return PACKINGS.find(({ magic }) => start.startsWith(magic))?.unpack(source, at, unpacker)
}

/** Returns the bytes of a source from `from` up to `to`, in pieces. */
export function* piecesOf(source: ByteSource, from: number, to = source.size): Generator<Buffer, void> {
  for (let at = from; at < to; ) {
    const piece = source.read(at, Math.min(CHUNK, to - at))
    if (piece.length === 0) return
    yield piece
    at += piece.length
  }
}

/** What a program unpacks; one whose end is not sought has all the rest of the file. */
function byProgram(argv: readonly string[], endOf?: (source: ByteSource, at: number) => number): Packing['unpack'] {
  return (source, at, unpacker) => {
    const end = endOf?.(source, at) ?? source.size
    return { chunks: unpacker(argv, piecesOf(source, at, end)), end: () => end }
  }
}

function unzstdPart(source: ByteSource, at: number, unpacker: Unpacker): Unpacked {
  const { createZstdDecompress } = loadZlib()
  if (createZstdDecompress === undefined) return byProgram(['zstd', '-dc'], endOfZstd)(source, at, unpacker)
  const end = endOfZstd(source, at)
  return { chunks: through(createZstdDecompress({ chunkSize: CHUNK }), piecesOf(source, at, end)), end: () => end }
}

/** Unpacks one member of a gzip file. Source: RFC 1952. */
function gunzipPart(source: ByteSource, at: number): Unpacked {
  const head = source.read(at, 4096)
  const flags = head[3] ?? 0
  let body = 10
  if (flags & 4) body += 2 + head.readUInt16LE(Math.min(body, head.length - 2))
  for (const text of [8, 16]) if (flags & text) body = head.indexOf(0, body) + 1 || head.length
  if (flags & 2) body += 2
  const engine = loadZlib().createInflateRaw({ chunkSize: CHUNK })
  const trailer = (): number => at + body + engine.bytesWritten
  async function* chunks(): AsyncGenerator<Buffer, void> {
    let length = 0
    for await (const chunk of through(engine, piecesOf(source, at + body))) {
      length += chunk.length
      yield chunk
    }
    const said = source.read(trailer(), 8)
    if (said.length < 8) throw tooShort()
    if (said.readUInt32LE(4) !== length % 2 ** 32) throw new UserError('damaged', 'its gzip data is wrong')
  }
  return { chunks: chunks(), end: () => trailer() + 8 }
}

/** Returns what one of zlib's engines makes of the input. */
async function* through(engine: Duplex, input: Iterable<Buffer>): AsyncGenerator<Buffer, void> {
  const { pipeline, Readable } = createRequire(import.meta.url)('node:stream') as typeof import('node:stream')
  // Its error comes out of the engine too. The engine may end before its input does.
  pipeline(Readable.from(input, { highWaterMark: 1 }), engine, () => {})
  try {
    yield* engine as AsyncIterable<Buffer>
  } catch (error) {
    if (error instanceof UserError) throw error
    const { code } = error as NodeJS.ErrnoException
    if (code === 'Z_BUF_ERROR') throw tooShort()
    throw new UserError('damaged', `it cannot be unpacked (${code ?? 'unknown error'})`)
  }
}

type Zlib = typeof import('node:zlib') & {
  /** Node has it from 22.15 and 23.8 on. */
  createZstdDecompress?: (options: { chunkSize: number }) => Duplex
}

/** Loads zlib only where it is needed: it costs every other start a millisecond. */
function loadZlib(): Zlib {
  return createRequire(import.meta.url)('node:zlib') as Zlib
}

/** Returns where a frame of zstd ends. Source: RFC 8878, 3.1.1. */
function endOfZstd(source: ByteSource, at: number): number {
  const descriptor = source.read(at + 4, 1)[0]
  if (descriptor === undefined) throw tooShort()
  const single = (descriptor & 0x20) !== 0
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0
  const sizes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0
  let end = at + 5 + (single ? 0 : 1) + dictionary + sizes
  for (;;) {
    const header = source.read(end, 3)
    if (header.length < 3) throw tooShort()
    const block = header.readUIntLE(0, 3)
    // A block of type 1 is one byte, repeated.
    end += 3 + (((block >> 1) & 3) === 1 ? 1 : block >> 3)
    if (block & 1) return end + (descriptor & 4)
  }
}

/** Returns where the blocks of lz4's legacy format end: each has its length before it. */
function endOfLz4(source: ByteSource, at: number): number {
  for (let end = at + 4; ; ) {
    const header = source.read(end, 4)
    const length = header.length < 4 ? 0 : header.readUInt32LE(0)
    if (length === 0 || (length > LZ4_BLOCK && length !== LZ4_MAGIC)) return end
    end += length === LZ4_MAGIC ? 4 : 4 + length
  }
}

/**
 * Returns where a stream of xz ends. What is packed may hold ends of other streams, as modules do: the right one is that
 * whose index has the lengths of all blocks since the beginning. Source: the .xz file format, 2.1.2 and 4.
 */
function endOfXz(source: ByteSource, at: number): number {
  const mark = Buffer.concat([source.read(at + 6, 2), Buffer.from('YZ')])
  let last = Buffer.alloc(0)
  let from = at
  for (const piece of piecesOf(source, at)) {
    const bytes = Buffer.concat([last, piece])
    for (let found = bytes.indexOf(mark); found !== -1; found = bytes.indexOf(mark, found + 1)) {
      const end = from + found + mark.length
      if ((end - at) % 4 === 0 && lengthOfXz(source, end) === end - at) return end
    }
    last = Buffer.from(bytes.subarray(-3))
    from += bytes.length - last.length
  }
  throw tooShort()
}

/** Returns the length of the stream of xz that ends at `end`; `undefined` where none does. */
function lengthOfXz(source: ByteSource, end: number): number | undefined {
  if (end < 32) return undefined
  const size = (source.read(end - 8, 4).readUInt32LE(0) + 1) * 4
  // A block takes at least two bytes of the index: no image has more.
  if (size > Math.min(end - 24, 1 << 24)) return undefined
  const index = source.read(end - 12 - size, size)
  let at = 1
  const number = (): number => {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = index[at++] ?? 0
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
  }
  if (index[0] !== 0) return undefined
  let length = 24 + size
  for (let left = number(); left > 0 && at < size; left--) {
    length += Math.ceil(number() / 4) * 4
    number()
  }
  return length
}

function tooShort(): UserError {
  return new UserError('damaged', 'it ends too early')
}
