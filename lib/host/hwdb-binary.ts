import type { Buffer } from 'node:buffer'

// hwdb.bin: a trie of the match lines, little endian. Source: src/libsystemd/sd-hwdb/hwdb-internal.h in systemd.

/** Offsets in the header: the sizes of a node, of a child's entry and of a value's entry, and where the root is. */
const HEADER = { node: 32, child: 40, value: 48, root: 56, size: 80 }

/**
 * Returns the last value of a property of a match line (`pci:v000010DE*`), which is taken as it stands, not as a
 * pattern; `null` where there is none, or the data is no such database.
 */
export function readHwdbProperty(data: Buffer, match: string, key: string): string | null {
  try {
    return lookUp(data, match, key)
  } catch (error) {
    // An offset behind the end: the file is damaged.
    if (error instanceof RangeError) return null
    throw error
  }
}

function lookUp(data: Buffer, match: string, key: string): string | null {
  if (data.length < HEADER.size || data.toString('latin1', 0, 8) !== 'KSLPHHRH') return null
  const number = (at: number): number => Number(data.readBigUInt64LE(at))
  const text = (at: number): string => data.toString('utf8', at, data.indexOf(0, at))
  const [nodeSize, childSize, valueSize] = [number(HEADER.node), number(HEADER.child), number(HEADER.value)]
  let node = number(HEADER.root)
  let left = match
  for (;;) {
    const prefix = text(number(node))
    if (!left.startsWith(prefix)) return null
    left = left.slice(prefix.length)
    const children = data.readUInt8(node + 8)
    const first = node + nodeSize
    if (left === '') {
      const count = number(node + 16)
      if (count * valueSize > data.length) return null
      const values = Array.from({ length: count }, (_, at) => first + children * childSize + at * valueSize)
      const own = values.filter((at) => text(number(at)) === ` ${key}`)
      const last = own.at(-1)
      return last === undefined ? null : text(number(last + 8))
    }
    const entries = Array.from({ length: children }, (_, at) => first + at * childSize)
    const child = entries.find((at) => data.readUInt8(at) === left.charCodeAt(0))
    if (child === undefined) return null
    node = number(child + 8)
    left = left.slice(1)
  }
}
