import type { Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import type { Reader } from '../../host/reader.ts'

/** A bridge that guests are to be attached to. */
export interface BridgeRequest {
  name: string
  /** The network card that becomes a port of it. */
  port: string
  /** The card's address, which the bridge takes over: leases of DHCP stay the same. */
  mac: string | undefined
  /** What the card's DHCP client is known by, besides: see `Card`. */
  iaid: number | undefined
  /** The profile of NetworkManager that is active on it. */
  active: string | undefined
  /** Guests are in this VLAN, and the host stays as it is; else its addresses, DNS and routes move to the bridge. */
  vlan: number | undefined
}

/** A TAP device that a user may open. */
export interface TapRequest {
  name: string
  user: string
  /** The bridge that it is a port of. */
  bridge: string | undefined
}

/** What sets up the network of a host: the one whose configuration has the card. */
export interface NetworkConfig {
  name: string
  documentation: string
  /** What shows that this card is its. */
  cardProof(files: Reader, port: string, mac: string | undefined): string | undefined
  /** Throws a UserError, code `unknown-system`, for a configuration that it does not understand for certain. */
  settings(files: Reader, request: BridgeRequest): Setting[]
  /** What of the host's addresses may be another on the bridge, where that cannot be prevented or is not known. */
  notes?(files: Reader, request: BridgeRequest): string[]
  /** What shows that it sets up this host's network, whatever cards there are. */
  activeProof(files: Reader): string | undefined
  /** Throws a UserError for what it cannot make. */
  tap(files: Reader, request: TapRequest): Setting[]
}

/** The refusal of what would have to be guessed, or would leave the host without its network. */
export function unmovable(message: string): UserError {
  return new UserError('unknown-system', message)
}

/** Why a setting is there; what two requests are told apart by. */
export function bridgeReason({ name, port, vlan }: BridgeRequest): string {
  return `${name} is a bridge with ${port}${vlan === undefined ? '' : `, VLAN ${vlan},`} as its port`
}

export function tapReason(name: string, user: string): string {
  return `${user} may attach guests to ${name}`
}

/** Sections of an INI file as systemd and NetworkManager write them: their names, and their lines as they stand. */
export function parseSections(text: string): { name: string; lines: string[] }[] {
  const sections: { name: string; lines: string[] }[] = []
  for (const line of text.split('\n')) {
    const name = /^\s*\[([^\]]+)\]\s*$/.exec(line)?.[1]
    if (name !== undefined) sections.push({ name, lines: [] })
    else if (line.trim() !== '' && !/^\s*[#;]/.test(line)) sections.at(-1)?.lines.push(line.trim())
  }
  return sections
}

/** The values of a key in all sections of that name. */
export function sectionValues(sections: ReturnType<typeof parseSections>, section: string, key: string): string[] {
  return sections
    .filter(({ name }) => name === section)
    .flatMap(({ lines }) => lines)
    .flatMap((line) => {
      const [, name, value = ''] = /^([^=\s]+)\s*=\s*(.*)$/.exec(line) ?? []
      return name === key ? [value] : []
    })
}

/** A section as it is written, behind an empty line; nothing where it has no lines. */
export function sectionText(name: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : `\n[${name}]\n${lines.map((line) => `${line}\n`).join('')}`
}

/** A file of our own, where its folder really is. */
export function ownFile(
  files: Reader,
  path: string,
  head: string,
  text: string,
  reason: string,
  mode = 0o644,
): Setting {
  const [folder, name] = [path.replace(/\/[^/]*$/, ''), path.replace(/.*\//, '')]
  const content = `${head}${text.trimEnd()}\n`
  return { kind: 'file', path: `${files.resolve(folder) ?? folder}/${name}`, content, mode, reason }
}
