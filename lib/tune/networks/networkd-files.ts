import type { Reader } from '../../host/reader.ts'
import { parseSections, sectionValues, unmovable } from './network-config.ts'

// Which file of systemd-networkd a link is set up by. Source: systemd.network(5), systemd.netdev(5).

export const NETWORKD = '/etc/systemd/network'
const FOLDERS = [
  NETWORKD,
  '/run/systemd/network',
  '/usr/local/lib/systemd/network',
  '/usr/lib/systemd/network',
  '/lib/systemd/network',
]

export type IniSections = ReturnType<typeof parseSections>

/** A file with its drop-ins, as one text. */
export interface NetworkFile {
  path: string
  name: string
  sections: IniSections
}

/** What files match by, of a card or of a bridge that is to come. */
export interface LinkMatch {
  name: string
  mac: string | undefined
  /** As `Type=` and `Kind=` have it. */
  bridge?: boolean
}

/** The first file that matches a card. Throws a UserError, code `unknown-system`, for one that may match or not. */
export function findNetworkFile(files: Reader, link: LinkMatch): NetworkFile | undefined {
  for (const file of networkFiles(files)) {
    const fits = isMatch(file, link)
    if (typeof fits === 'string')
      throw unmovable(
        `${file.path}: may match ${link.name} or not (${fits}); give ${link.name} a file with Name= alone`,
      )
    if (fits) return file
  }
  return undefined
}

/** The first files that match a link, or may. */
export function findPossibleFile(files: Reader, link: LinkMatch): NetworkFile | undefined {
  return networkFiles(files).find((file) => isMatch(file, link) !== false)
}

/** A person's file that makes a device of this name. */
export function deviceFile(files: Reader, device: string): string | undefined {
  return networkdPaths(files, '.netdev').find(
    (path) => sectionValues(parseSections(readNetworkdFile(files, path)), 'NetDev', 'Name')[0] === device,
  )
}

/** In the order in which they are tried: by name, whatever folder; the first folder hides the others' files. */
function networkFiles(files: Reader): NetworkFile[] {
  return networkdPaths(files, '.network').map((path) => {
    const name = path.replace(/.*\//, '')
    const texts = [path, ...networkdDropIns(files, name)].map((one) => readNetworkdFile(files, one))
    return { path, name, sections: texts.flatMap(parseSections) }
  })
}

function networkdPaths(files: Reader, ending: string): string[] {
  const known = new Map<string, string>()
  for (const folder of FOLDERS)
    for (const name of files.list(folder) ?? [])
      if (name.endsWith(ending) && !name.includes('vfio-scripts') && !known.has(name)) known.set(name, folder)
  return [...known].sort(([one], [other]) => (one < other ? -1 : 1)).map(([name, folder]) => `${folder}/${name}`)
}

/** Of all folders, whichever the file itself is in. */
function networkdDropIns(files: Reader, name: string): string[] {
  const known = new Map<string, string>()
  for (const folder of FOLDERS.map((one) => `${one}/${name}.d`))
    for (const one of files.list(folder) ?? [])
      if (one.endsWith('.conf') && !one.includes('vfio-scripts') && !known.has(one)) known.set(one, `${folder}/${one}`)
  return [...known].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, path]) => path)
}

function readNetworkdFile(files: Reader, path: string): string {
  // A link to /dev/null hides a file.
  if (files.resolve(path) === '/dev/null') return ''
  return (files.bytes(path)?.toString('latin1') ?? '').replace(/\\\n\s*/g, ' ')
}

/** A string: the condition that cannot be told. */
function isMatch({ sections }: NetworkFile, link: LinkMatch): boolean | string {
  const lines = sections.filter(({ name }) => name === 'Match').flatMap((section) => section.lines)
  if (lines.length === 0) return false
  // Lines of one key add up.
  const keys = new Map<string, string[]>()
  for (const line of lines) {
    const [, key = '', value = ''] = /^(\w+)\s*=\s*(.*)$/.exec(line) ?? []
    keys.set(key, value === '' ? [] : [...(keys.get(key) ?? []), ...value.split(/\s+/)])
  }
  let unsure: string | undefined
  for (const [key, words] of keys) {
    if (words.length === 0) continue
    const inverted = words[0]?.startsWith('!') === true
    const plain = words.map((word, index) => (index === 0 && inverted ? word.slice(1) : word))
    const fits = matchesKey(key, plain, link)
    if (fits === undefined) unsure = `${key}=${words.join(' ')}`
    else if (fits === inverted) return false
  }
  return unsure ?? true
}

function matchesKey(key: string, words: readonly string[], { name, mac, bridge }: LinkMatch): boolean | undefined {
  const any = (text: string): boolean => words.some((word) => networkdGlob(word).test(text))
  if (key === 'Name') return any(name)
  if (key === 'Type') return any(bridge ? 'bridge' : 'ether')
  // A physical card has none.
  if (key === 'Kind') return bridge === true && any('bridge')
  if (key === 'MACAddress') return mac === undefined ? undefined : words.some((word) => word.toLowerCase() === mac)
  if (key === 'PermanentMACAddress' && bridge) return false
  if (key === 'PermanentMACAddress')
    return mac === undefined ? undefined : words.some((word) => word.toLowerCase() === mac)
  if ((key === 'Driver' || key === 'Path') && bridge) return false
  return undefined
}

/** Source: fnmatch(3). */
function networkdGlob(pattern: string): RegExp {
  const text = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('[!', '[^')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  try {
    return new RegExp(`^${text}$`)
  } catch {
    // A bracket that does not close stands for itself.
    return new RegExp(`^${text.replace(/[[\]]/g, '\\$&')}$`)
  }
}
