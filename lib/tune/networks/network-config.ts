import { headComment, type Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'
import type { OwnAddresses } from './own-addresses.ts'

/** A bridge that guests are to be attached to. */
export interface BridgeRequest {
  name: string
  /** The network card that becomes a port of it. */
  port: string
  /** The card's address, which the bridge takes over: leases of DHCP stay the same. */
  mac: string | undefined
  /** The IAID by which DHCP servers know the card besides its address. */
  iaid: number | undefined
  /** The profile of NetworkManager that is active on it. */
  active: string | undefined
  /** The VLAN of the guests; the host stays as it is. Without one, its addresses, DNS and routes move to the bridge. */
  vlan: number | undefined
  /** What the host itself gets in the VLAN; `null`: nothing. */
  own: OwnAddresses | null
  /** The interface that becomes the bridge's port: the card, or the VLAN on it. */
  lower: string
}

/** A TAP device that a user may open. */
export interface TapRequest {
  name: string
  user: string
  /** The bridge that it is a port of. */
  bridge: string | undefined
}

/** A program that sets up a host's network, as far as it makes bridges and TAP devices. */
export interface NetworkConfig {
  name: string
  documentation: string
  /** Returns the file that shows that it sets this card up. */
  cardProof(files: Reader, port: string, mac: string | undefined): string | undefined
  /**
   * Returns the settings that make the card a port of a new bridge. `notes` say which of the host's addresses may
   * change on the bridge, where that cannot be prevented or is not known.
   * Throws a UserError, code `unknown-system`, for a configuration that it does not understand for certain.
   */
  bridge(files: Reader, request: BridgeRequest): { settings: Setting[]; notes?: string[] }
  /** Returns the file that shows that it sets up this host's network, whatever cards there are. */
  activeProof(files: Reader): string | undefined
  /** Returns the settings that make a TAP device. Throws a UserError for one that it cannot make. */
  tap(files: Reader, request: TapRequest): Setting[]
}

/** Returns a UserError, `unknown-system`, for a change that needs a guess or would leave the host without network. */
export function unmovable(message: string): UserError {
  return new UserError('unknown-system', message)
}

/** Returns a UserError, code `unknown-system`, for a line that may be the bridge's or the card's. */
export function unknownLine(path: string, line: string, { name, port }: BridgeRequest): UserError {
  return unmovable(
    `${path}: "${line.trim()}" is not known to go with ${name} or with ${port}; a bridge is made by hand here`,
  )
}

/** Returns the reason that the plan shows for a bridge's settings. */
export function bridgeReason({ name, port, vlan }: BridgeRequest): string {
  return `${name} is a bridge with ${port}${vlan === undefined ? '' : `, VLAN ${vlan},`} as its port`
}

/** Returns the reason that the plan shows for a TAP device's settings. */
export function tapReason(name: string, user: string): string {
  return `${user} may attach guests to ${name}`
}

/** Returns a file's text, one character for each byte; empty where there is no file. */
export function configText(files: Reader, path: string): string {
  return files.bytes(path)?.toString('latin1') ?? ''
}

/** The sections of an INI file of systemd or NetworkManager: their names, and their lines as they stand. */
export type IniSections = { name: string; lines: string[] }[]

/** Returns the sections of a text, without comments and empty lines. */
export function parseSections(text: string): IniSections {
  const sections: IniSections = []
  for (const line of text.split('\n')) {
    const name = /^\s*\[([^\]]+)\]\s*$/.exec(line)?.[1]
    if (name !== undefined) sections.push({ name, lines: [] })
    else if (line.trim() !== '' && !/^\s*[#;]/.test(line)) sections.at(-1)?.lines.push(line.trim())
  }
  return sections
}

/** Returns the values of a key in all sections of that name. */
export function sectionValues(sections: IniSections, section: string, key: string): string[] {
  return sections
    .filter(({ name }) => name === section)
    .flatMap(({ lines }) => lines)
    .flatMap((line) => {
      const [, name, value = ''] = /^([^=\s]+)\s*=\s*(.*)$/.exec(line) ?? []
      return name === key ? [value] : []
    })
}

/** Returns the last value, which is the one that counts; empty where there is none. */
export function lastValue(sections: IniSections, section: string, key: string): string {
  return sectionValues(sections, section, key).at(-1) ?? ''
}

/** Returns the text of a section, after an empty line; empty where it has no lines. */
export function sectionText(name: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `\n[${name}]\n${lines.map((line) => `${line}\n`).join('')}`
}

/** Returns the setting of a whole file of our own, at its folder's real path. */
export function ownFile(files: Reader, path: string, text: string, reason: string, mode = 0o644): Setting {
  const [folder, name] = [path.replace(/\/[^/]*$/, ''), path.replace(/.*\//, '')]
  const content = `${headComment('tune-host')}${text.trimEnd()}\n`
  return { kind: 'file', path: `${files.resolve(folder) ?? folder}/${name}`, content, mode, reason }
}
