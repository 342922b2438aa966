import { globPattern } from '../../core/glob.ts'
import { dropInFolders, dropInPaths } from '../../host/drop-ins.ts'
import type { Reader } from '../../host/reader.ts'
import { configText, type IniSections, parseSections, sectionValues, unmovable } from './network-config.ts'

// Finds the file of systemd-networkd that sets a link up. Source: systemd.network(5), systemd.netdev(5).

export const NETWORKD = '/etc/systemd/network'
const FOLDERS = dropInFolders('systemd/network')

/** A file and its sections, with those of its drop-ins. */
export interface NetworkFile {
  path: string
  name: string
  sections: IniSections
}

/** The properties by which files match a card, or a bridge that does not exist yet. */
interface LinkMatch {
  name: string
  mac: string | undefined
  /** Is it a bridge, as `Type=` and `Kind=` have it? */
  bridge?: boolean
}

/** Finds the first file that matches a card. Throws a UserError, code `unknown-system`, for one that may or may not. */
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

/** Finds the first file that matches a link, or may match it. */
export function findPossibleFile(files: Reader, link: LinkMatch): NetworkFile | undefined {
  return networkFiles(files).find((file) => isMatch(file, link) !== false)
}

/** Returns the person's file that makes a device of this name. */
export function deviceFile(files: Reader, device: string): string | undefined {
  return foreignPaths(files, FOLDERS, 'netdev').find(
    (path) => sectionValues(readSections(files, path), 'NetDev', 'Name')[0] === device,
  )
}

/** Reads the files in the order in which they are tried. A file has drop-ins in all folders, not only in its own. */
function networkFiles(files: Reader): NetworkFile[] {
  return foreignPaths(files, FOLDERS, 'network').map((path) => {
    const name = path.replace(/.*\//, '')
    const dropIns = foreignPaths(
      files,
      FOLDERS.map((folder) => `${folder}/${name}.d`),
      'conf',
    )
    return { path, name, sections: [path, ...dropIns].flatMap((one) => readSections(files, one)) }
  })
}

/** Returns the paths that are not ours. */
function foreignPaths(files: Reader, folders: readonly string[], ending: string): string[] {
  return dropInPaths(files, folders, new RegExp(`^(?!.*vfio-scripts).*\\.${ending}$`, 's'))
}

function readSections(files: Reader, path: string): IniSections {
  // A link to /dev/null disables a file.
  if (files.resolve(path) === '/dev/null') return []
  return parseSections(configText(files, path).replace(/\\\n\s*/g, ' '))
}

/** Does the file match? A string is a condition for which that cannot be told. */
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
  const any = (text: string): boolean => words.some((word) => globPattern(word).test(text))
  if (key === 'Name') return any(name)
  if (key === 'Type') return any(bridge ? 'bridge' : 'ether')
  // A physical card has none.
  if (key === 'Kind') return bridge === true && any('bridge')
  if (bridge && /^(PermanentMACAddress|Driver|Path)$/.test(key)) return false
  if (/^(Permanent)?MACAddress$/.test(key) && mac !== undefined) return words.some((word) => word.toLowerCase() === mac)
  return undefined
}
