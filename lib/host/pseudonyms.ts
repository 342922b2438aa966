/** The pseudonyms for what identifies a machine or is secret: an original has the same one wherever it stands. */
export interface Pseudonyms {
  /** Replaces what is known by its form: UUIDs, MAC addresses, machine IDs, serial numbers, names of disks. */
  rename(text: string): string
  /**
   * Returns the pseudonym of a value that has no form of its own. With `width` it has that length, for files of fixed
   * offsets.
   */
  secret(value: string, width?: number): string
  /** Replaces values that were secret elsewhere, where they stand as a word of their own. */
  replaceSecrets(text: string): string
}

/** Returns an empty set of pseudonyms. */
export function openPseudonyms(): Pseudonyms {
  const known = new Map<string, string>()
  const counts = new Map<string, number>()
  const secrets = new Map<string, string>()
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
  const uuid = (text: string): string =>
    stable('uuid', text.replaceAll('-', ''), (count) => `00000000-0000-4000-8000-${hex(count)}`)
  const pairs = (text: string): string =>
    stable('mac', text.replace(/[:-]/g, ''), (count) => `02${hex(count).slice(2)}`)
  const mac = (text: string, separator: string): string => (pairs(text).match(/../g) ?? []).join(separator)
  const serial = (text: string): string => stable('serial', text, (count) => `serial-${count}`)
  const rename = (text: string): string =>
    text
      .replace(/\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/gi, uuid)
      // Machine IDs, and the UUIDs of opened LUKS volumes.
      .replace(/(?<![0-9a-z])[0-9a-f]{32}(?![0-9a-z])/gi, (all) => uuid(all).replaceAll('-', ''))
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
      .replace(
        /((?<![A-Za-z0-9])(?:PART)?UUID=|\/by-(?:part)?uuid\/)(?!00000000-0000-4000-8000-)([\w-]+)/g,
        (_, head, id) => head + uuid(id),
      )
      .replace(/(\/by-id\/)([^\s"/]+)/g, (_, head, id) => head + serial(id))
      .replace(/([\w.-]*serial\s*[:=]\s*)(\S+)/gi, (_, head, id) => head + serial(id))
  return {
    rename,
    secret(value, width) {
      const pseudonym = stable('secret', value, (count) => `hidden-${count}`)
      // A plain word, such as the name of a module, may stand anywhere else by itself.
      if (value.length > 5 && !/^[a-z_-]+$/.test(value)) secrets.set(value, pseudonym)
      return width === undefined ? pseudonym : pseudonym.slice(0, width).padEnd(width, 'x')
    },
    replaceSecrets(text) {
      const values = [...secrets.keys()].filter((value) => text.includes(value))
      const longest = values.sort((one, other) => other.length - one.length)
      return longest.reduce((now, value) => {
        const word = new RegExp(`(?<!\\w)${value.replace(/[^\w\s-]/g, '\\$&')}(?!\\w)`, 'g')
        return now.replace(word, () => secrets.get(value) ?? '')
      }, text)
    },
  }
}
