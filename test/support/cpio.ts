import { Buffer } from 'node:buffer'

/** A file in an archive that a test makes: a folder unless it has content or a link, or another mode. */
export interface Archived {
  name: string
  content?: string | Buffer
  link?: string
  mode?: number
  /** Set for a file with several names. */
  inode?: number
  /** Fields of the header as they shall stand there, eight characters each: `{ 6: 'ffffffff' }`. */
  fields?: Record<number, string>
}

const hex = (value: number): string => value.toString(16).padStart(8, '0')
const padded = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])

function archived({ name, content, link, mode, inode, fields = {} }: Archived, magic: string): Buffer {
  const body = Buffer.from(link ?? content ?? '')
  const type = link !== undefined ? 0o120777 : content !== undefined ? 0o100644 : 0o040755
  const values = [inode ?? 0, mode ?? type, 0, 0, inode === undefined ? 1 : 2, 0, body.length, 0, 0, 0, 0]
  const numbers = [...values, Buffer.byteLength(name) + 1, 0].map((value, index) => fields[index] ?? hex(value))
  return Buffer.concat([padded(Buffer.from(`${magic}${numbers.join('')}${name}\0`)), padded(body)])
}

/** An archive as `cpio -H newc` writes it, padded to 512 bytes; `cut` has no end. */
export function cpioOf(entries: readonly Archived[], { magic = '070701', cut = false } = {}): Buffer {
  const all = [...entries, ...(cut ? [] : [{ name: 'TRAILER!!!', mode: 0 }])]
  const bytes = Buffer.concat(all.map((one) => archived(one, magic)))
  return cut ? bytes : Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)])
}

/** The folders above a file, and the file. */
export function placed(path: string, content: string | Buffer): Archived[] {
  const folders = path.split('/').slice(0, -1)
  return [...folders.map((_, index) => ({ name: folders.slice(0, index + 1).join('/') })), { name: path, content }]
}

/** A PE file with these sections. */
export function peOf(sections: readonly (readonly [name: string, bytes: Buffer])[]): Buffer {
  const head = Buffer.alloc(0x400)
  head.write('MZ')
  head.writeUInt32LE(0x40, 0x3c)
  head.write('PE\0\0', 0x40, 'latin1')
  head.writeUInt16LE(sections.length, 0x46)
  head.writeUInt16LE(16, 0x54)
  const parts: Buffer[] = [head]
  let from = head.length
  for (const [index, [name, bytes]] of sections.entries()) {
    const at = 0x40 + 24 + 16 + 40 * index
    const raw = Math.ceil(bytes.length / 512) * 512
    head.write(name, at)
    for (const [offset, value] of Object.entries({ 8: bytes.length, 16: raw, 20: from }))
      head.writeUInt32LE(value, at + Number(offset))
    parts.push(bytes, Buffer.alloc(raw - bytes.length))
    from += raw
  }
  return Buffer.concat(parts)
}
