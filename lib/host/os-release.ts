import type { Reader } from './reader.ts'

/** The fields of a system's os-release(5); empty strings and lists where it says nothing. */
export interface OsRelease {
  /** The ID in lower case: `ubuntu`. */
  id: string
  /** The systems that it derives from, nearest first. */
  like: string[]
  variant: string
  version: string
  /** The codename of the release that it is or derives from, where there is one: `bookworm`, `jammy`. */
  codename: string
  /** The name for people: `Debian GNU/Linux 12 (bookworm)`. */
  name: string
}

/** Reads /etc/os-release, else /usr/lib/os-release, as os-release(5) asks. */
export function readOsRelease(files: Reader): OsRelease {
  const paths = ['/etc/os-release', '/usr/lib/os-release']
  const text = paths.map((path) => files.optionalBytes(path)?.toString('utf8')).find((found) => found !== undefined)
  const value = (name: string): string => {
    const raw = new RegExp(`^${name}=(.*?)\\s*$`, 'm').exec(text ?? '')?.[1] ?? ''
    const [, quote, inner = raw] = /^(["'])(.*)\1$/.exec(raw) ?? []
    return quote === '"' ? inner.replace(/\\([$"\\`])/g, '$1') : inner
  }
  const word = (name: string): string => value(name).trim().toLowerCase()
  return {
    id: word('ID'),
    like: word('ID_LIKE').split(/\s+/).filter(Boolean),
    variant: word('VARIANT_ID'),
    version: value('VERSION_ID').trim(),
    codename: word('UBUNTU_CODENAME') || word('VERSION_CODENAME'),
    name: value('PRETTY_NAME') || value('NAME') || 'an unknown system',
  }
}
