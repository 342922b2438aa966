import { Buffer } from 'node:buffer'
import type { Machine } from './machine.ts'
import type { Seen } from './reader.ts'

/**
 * What was read of a machine, as a tree to write: path → file, link or folder. Large tables are cut to the lines that
 * were used, and what identifies a machine or a person is replaced by stable pseudonyms: serial numbers, MAC
 * addresses, UUIDs, host names.
 */
export function captureTree({ reader, names, modules, told }: Machine): Map<string, Seen> {
  const excerpts = new Map(
    // where the file is, not by which link it was found: /lib is a link to usr/lib almost everywhere
    [...names.excerpts(), ...modules.excerpts()].map(([path, text]) => [reader.resolve(path) ?? path, text]),
  )
  const hostname = reader.optionalText('/proc/sys/kernel/hostname')?.trim()
  const rename = pseudonyms()
  const seen = new Map(reader.seen)
  for (const [path, text] of told) seen.set(path, { file: Buffer.from(text) })
  // Names of people and machines.
  for (const path of ['/proc/sys/kernel/hostname', '/etc/passwd', '/etc/group']) seen.delete(path)
  for (const path of reader.seen.keys()) {
    // A database is replaced as a whole by its excerpt, which is plain text.
    if (path.endsWith('.gz') && excerpts.has(path.slice(0, -3))) seen.delete(path)
  }
  for (const path of excerpts.keys()) seen.delete(path)
  const tree = new Map<string, Seen>()
  for (const [path, entry] of [...seen].sort(([one], [other]) => (one < other ? -1 : 1))) {
    if ('link' in entry) tree.set(rename(path), { link: rename(entry.link) })
    else if ('folder' in entry) tree.set(rename(path), { folder: entry.folder.map(rename) })
    else tree.set(rename(path), { file: anonymous(path, entry.file, rename, hostname) })
  }
  for (const [path, text] of excerpts) tree.set(path, { file: Buffer.from(text) })
  return tree
}

function anonymous(
  path: string,
  content: Buffer,
  rename: (text: string) => string,
  hostname: string | undefined,
): Buffer {
  if (content.includes(0)) return content
  const text = content.toString('utf8')
  if (/serial|wwid/i.test(path.slice(path.lastIndexOf('/') + 1)))
    return Buffer.from(rename(`serial=${text.trim()}`).slice(7))
  let plain = rename(text)
  if (path === '/proc/cmdline' && hostname) {
    plain = plain.replace(new RegExp(`(?<![\\w-])${hostname.replace(/[^\w-]/g, '\\$&')}(?![\\w-])`, 'g'), 'host-1')
  }
  // Bytes that are no UTF-8 must stay as they were.
  return plain === text ? content : Buffer.from(plain)
}

/** Replaces what identifies a machine, the same original by the same pseudonym wherever it stands. */
function pseudonyms(): (text: string) => string {
  const known = new Map<string, string>()
  const counts = new Map<string, number>()
  const stable = (kind: string, original: string, make: (count: number) => string): string => {
    const key = `${kind} ${original.toLowerCase()}`
    let pseudonym = known.get(key)
    if (pseudonym === undefined) {
      const count = (counts.get(kind) ?? 0) + 1
      counts.set(kind, count)
      pseudonym = make(count)
      known.set(key, pseudonym)
    }
    return pseudonym
  }
  const hex = (count: number): string => count.toString(16).padStart(12, '0')
  const uuid = (text: string): string => stable('uuid', text, (count) => `00000000-0000-4000-8000-${hex(count)}`)
  const pairs = (text: string): string =>
    stable('mac', text.replace(/[:-]/g, ''), (count) => `02${hex(count).slice(2)}`)
  const mac = (text: string, separator: string): string => (pairs(text).match(/../g) ?? []).join(separator)
  return (text) =>
    text
      .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, uuid)
      .replace(
        /(?<![0-9a-f]|[0-9a-f]{2}[:-])[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}(?![0-9a-f:-])/gi,
        (all, sep) => mac(all, sep),
      )
      // A PXE loader's BOOTIF= has the hardware type before the address.
      .replace(
        /\b(BOOTIF=[0-9a-f]{2}-)((?:[0-9a-f]{2}-){5}[0-9a-f]{2})\b/gi,
        (_, head, address) => head + mac(address, '-'),
      )
      .replace(/\b(enx|wlx)([0-9a-f]{12})\b/g, (_, prefix, digits) => prefix + pairs(digits))
      .replace(/\b((?:PART)?UUID=)(?!00000000-0000-4000-8000-)([\w-]+)/g, (_, head, id) => head + uuid(id))
      .replace(/(\/by-id\/)([^\s"/]+)/g, (_, head, id) => head + stable('serial', id, (count) => `serial-${count}`))
      .replace(
        /([\w.-]*serial\s*[:=]\s*)(\S+)/gi,
        (_, head, id) => head + stable('serial', id, (count) => `serial-${count}`),
      )
}
