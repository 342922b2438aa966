import type { Reader } from './reader.ts'

/** A file in a folder of drop-ins. Its text has one character for each byte. */
export interface DropIn {
  path: string
  text: string
}

/** One line of a configuration file that is neither empty nor a comment. */
export interface ConfigLine {
  path: string
  /** The line number, from 1. */
  line: number
  /** The line without blanks around it. */
  text: string
}

const FOLDERS = ['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib']

/**
 * Returns the paths of folders such as sysctl.d in the order in which they are read: by name, whatever their folder. Of
 * two with one name the one in the first folder counts, unless it is a folder or a link that leads nowhere (for sysctl.d
 * of systemd these mask the name too, which is too rare to tell apart). `more` are other files, which are sorted in by
 * name.
 * Source: sysctl.d(5), tmpfiles.d(5), udev(7), modprobe.d(5), systemd.unit(5), systemd.network(5): the same rule in
 * each.
 */
export function dropInPaths(
  files: Reader,
  places: readonly string[],
  pattern = /^[^.].*\.conf$/s,
  more: readonly (readonly [name: string, path: string])[] = [],
): string[] {
  const paths = new Map<string, string>(more)
  for (const folder of places)
    for (const name of files.list(folder) ?? [])
      if (pattern.test(name) && !paths.has(name) && isThere(files, `${folder}/${name}`))
        paths.set(name, `${folder}/${name}`)
  return [...paths].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, path]) => path)
}

// A tree that is looked at need not have the device.
const isMask = (files: Reader, path: string): boolean =>
  /^(\.\.\/|\/)+dev\/null$/.test(files.link(path) ?? '') || files.resolve(path) === '/dev/null'

/** Is it a file, or the link to /dev/null that masks a name? */
function isThere(files: Reader, path: string): boolean {
  return isMask(files, path) || files.size(path) !== undefined
}

/** Returns the files at the paths of `dropInPaths` that may be read. A link to /dev/null masks a name. */
export function readDropIns(...where: Parameters<typeof dropInPaths>): DropIn[] {
  const [files] = where
  return dropInPaths(...where).flatMap((path) => {
    const text = isMask(files, path) ? undefined : files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

/** Returns the places of a folder of drop-ins; the first one has precedence. */
export function dropInFolders(name: string): string[] {
  return FOLDERS.map((folder) => `${folder}/${name}`)
}

/**
 * Returns a configuration file of systemd's tools (`kernel/install.conf`) and its drop-ins, in the order in which they
 * are read: the first file that there is, then those in all folders `NAME.d`. What a link to /dev/null masks is left
 * out. Source: systemd.syntax(7) and kernel-install(8); config_parse_standard_file_with_dropins() in systemd.
 */
export function readConfigFiles(files: Reader, name: string): DropIn[] {
  const at = name.lastIndexOf('/')
  const own = name.slice(at + 1)
  const main = readDropIns(files, dropInFolders(name.slice(0, at)), new RegExp(`^${own.replaceAll('.', '\\.')}$`))
  return [...main, ...readDropIns(files, dropInFolders(`${name}.d`))]
}

/**
 * Returns the last value of a key in files of lines `KEY=VALUE`, outside sections; `undefined` where it has none, or an
 * empty one. Quotes are part of it. Source: systemd.syntax(7).
 */
export function assignedValue(all: readonly DropIn[], key: string): string | undefined {
  const values = all.flatMap(({ text }) => {
    const [outside = ''] = text
      .replace(/^[ \t]*[#;].*\n?/gm, '')
      .replace(/\\\n/g, ' ')
      .split(/^[ \t]*\[/m)
    return [...outside.matchAll(/^[ \t]*([^=\n]*?)[ \t]*=[ \t]*(.*?)[ \t\r]*$/gm)].filter(([, name]) => name === key)
  })
  return values.at(-1)?.[2] || undefined
}

/** Returns the lines that are neither empty nor comments. */
export function configLines(files: readonly DropIn[]): ConfigLine[] {
  return files.flatMap(({ path, text }) =>
    text
      .split('\n')
      .map((line, index) => ({ path, line: index + 1, text: line.trim() }))
      .filter((one) => !/^([#;]|$)/.test(one.text)),
  )
}

/** Returns a line and where it stands, as evidence: `PATH:LINE: TEXT`. */
export function configLineText({ path, line, text }: ConfigLine): string {
  return `${path}:${line}: ${text}`
}

/** A value that is written to a kernel setting at boot. */
export interface BootWrite extends ConfigLine {
  /** The path in /proc or /sys; it may be a pattern of tmpfiles.d. */
  target: string
  value: string
}

const SYSCTL = '/etc/sysctl.conf'

/**
 * Returns the writes at boot in order: the lines of sysctl.d, then those of tmpfiles.d. systemd reads /etc/sysctl.conf
 * only where a link in sysctl.d leads there; sysctl of procps and BusyBox reads it last.
 * Source: sysctl.d(5), sysctl(8), tmpfiles.d(5).
 */
export function readBootWrites(files: Reader, systemd: boolean): BootWrite[] {
  const main = systemd ? undefined : files.optionalBytes(SYSCTL)?.toString('latin1')
  const last = main === undefined ? [] : [{ path: SYSCTL, text: main }]
  const sysctls = configLines([...readDropIns(files, dropInFolders('sysctl.d')), ...last]).flatMap(
    (line): BootWrite[] => {
      const [, name = '', value] = /^-?\s*([^=\s]+)\s*=\s*(.*)$/.exec(line.text) ?? []
      // Whichever of the two separators comes first is the one that the name is written with.
      const path = /^[^/]*\./.test(name) ? name.replaceAll('.', '\0').replaceAll('/', '.').replaceAll('\0', '/') : name
      return value === undefined ? [] : [{ ...line, target: `/proc/sys/${path}`, value }]
    },
  )
  const others = configLines(readDropIns(files, dropInFolders('tmpfiles.d'))).flatMap((line): BootWrite[] => {
    const [type = '', target = '', , , , , ...rest] = line.text.split(/\s+/)
    return /^w/.test(type) ? [{ ...line, target, value: rest.join(' ') }] : []
  })
  return [...sysctls, ...(systemd ? others : [])]
}
