import { UserError } from '../../cli/error.ts'
import type { Reader } from '../../host/reader.ts'
import { ownHead, type Setting } from '../../plan/setting.ts'
import { type NetworkConfig, ownFile, reasonFor, sectionsOf, tapReason, valuesOf } from './network.ts'

const FOLDER = '/etc/systemd/network'
const FOLDERS = [
  FOLDER,
  '/run/systemd/network',
  '/usr/local/lib/systemd/network',
  '/usr/lib/systemd/network',
  '/lib/systemd/network',
]
/** What a file may match by, and we can tell. */
const KNOWN = /^(Name|MACAddress|PermanentMACAddress|Type|Kind)=/

/**
 * systemd-networkd. The file that matches the card stays as it is; files of ours that sort before it make the card a
 * port, and give what it says to the bridge. Source: systemd.network(5), systemd.netdev(5).
 */
export const networkd: NetworkConfig = {
  name: 'systemd-networkd',
  documentation: 'https://www.freedesktop.org/software/systemd/man/latest/systemd.network.html',

  evidence(files, port, mac) {
    return networkd.runs(files) && matching(files, port, mac)?.path
  },

  runs: (files) =>
    ['multi-user', 'network-online', 'sysinit']
      .map((target) => `/etc/systemd/system/${target}.target.wants/systemd-networkd.service`)
      .find((path) => files.exists(path)),

  tap(files, { name, user, bridge }) {
    const reason = tapReason(name, user)
    const base = `${FOLDER}/50-vfio-scripts-${name}`
    const head = ownHead('tune-host')
    const device = `[NetDev]\nName=${name}\nKind=tap\n\n[Tap]\nUser=${user}\n`
    const port = `[Match]\nName=${name}\n\n[Network]\nBridge=${bridge}\n`
    return [
      ownFile(files, `${base}.netdev`, head, device, reason),
      ...(bridge === undefined
        ? []
        : [ownFile(files, `${base}.network`, head, port, `${name} is a port of ${bridge}`)]),
    ]
  },

  settings(files, request) {
    const { name, port, mac, vlan } = request
    const found = matching(files, port, mac)
    if (found === undefined) return []
    const head = ownHead('tune-host')
    const base = `${FOLDER}/05-vfio-scripts`
    const reason = reasonFor(request)
    const file = (path: string, text: string, why = reason): Setting => ownFile(files, path, head, text, why)
    const address = mac === undefined ? '' : `MACAddress=${mac}\n`
    const lower = vlan === undefined ? port : `${port}.${vlan}`
    const bridge = file(
      `${base}-${name}.netdev`,
      `[NetDev]\nName=${name}\nKind=bridge\n${vlan === undefined ? address : ''}`,
    )
    if (vlan !== undefined) {
      if (valuesOf(found.sections, 'Match', 'Name').join() !== port)
        throw new UserError(
          'unknown-system',
          `${found.path}: matches more than ${port}; give ${port} a file of its own with VLAN=${lower} in [Network]`,
        )
      return [
        bridge,
        file(`${base}-${lower}.netdev`, `[NetDev]\nName=${lower}\nKind=vlan\n\n[VLAN]\nId=${vlan}\n`, `VLAN ${vlan}`),
        file(`${FOLDER}/${found.name}.d/vfio-scripts.conf`, `[Network]\nVLAN=${lower}\n`, `VLAN ${vlan} on ${port}`),
        file(`${base}-${lower}.network`, `[Match]\nName=${lower}\n\n[Network]\nBridge=${name}\n`),
        file(
          `${base}-${name}.network`,
          `[Match]\nName=${name}\n\n[Network]\nLinkLocalAddressing=no\n`,
          'no address of the host',
        ),
      ]
    }
    if (files.list(`${found.folder}/${found.name}.d`) !== undefined)
      throw new UserError(
        'unknown-system',
        `${found.folder}/${found.name}.d: drop-ins are not read here; put them into ${found.path}`,
      )
    const moved = found.sections
      .filter((section) => section.name !== 'Match' && section.name !== 'Link')
      .map((section) => `\n[${section.name}]\n${section.lines.map((line) => `${line}\n`).join('')}`)
    return [
      bridge,
      file(`${base}-${port}.network`, `[Match]\nName=${port}\n\n[Network]\nBridge=${name}\n`),
      file(
        `${base}-${name}.network`,
        `[Match]\nName=${name}\n${moved.join('')}`,
        `what ${found.path} says, for ${name}`,
      ),
    ]
  },
}

interface Found {
  path: string
  folder: string
  name: string
  sections: ReturnType<typeof sectionsOf>
}

/** The first file, by name, that matches the card; `undefined` when none does, or one might and cannot be told. */
function matching(files: Reader, port: string, mac: string | undefined): Found | undefined {
  const known = new Map<string, string>()
  for (const folder of FOLDERS)
    for (const name of files.list(folder) ?? [])
      if (name.endsWith('.network') && !name.includes('vfio-scripts') && !known.has(name)) known.set(name, folder)
  for (const [name, folder] of [...known].sort(([one], [other]) => (one < other ? -1 : 1))) {
    const path = `${folder}/${name}`
    const sections = sectionsOf(files.bytes(path)?.toString('latin1') ?? '')
    const match = sections.filter((section) => section.name === 'Match').flatMap(({ lines }) => lines)
    if (match.length === 0) continue
    const fits = match.map((line) => isMatch(line, port, mac))
    if (fits.includes(false)) continue
    return fits.includes(undefined) ? undefined : { path, folder, name, sections }
  }
  return undefined
}

function isMatch(line: string, port: string, mac: string | undefined): boolean | undefined {
  const [, key = '', value = ''] = /^(\w+)=(.*)$/.exec(line) ?? []
  const words = value.split(/\s+/).filter(Boolean)
  if (!KNOWN.test(line) || words.some((word) => word.startsWith('!'))) return undefined
  if (key === 'Type') return words.includes('ether')
  // A physical card has none.
  if (key === 'Kind') return false
  if (key === 'Name') return words.some((word) => glob(word).test(port))
  return mac === undefined ? undefined : words.some((word) => word.toLowerCase() === mac)
}

/** Source: fnmatch(3), but for sets of characters, which no interface needs. */
function glob(pattern: string): RegExp {
  const text = pattern
    .replace(/[.+^${}()|\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.')
  return new RegExp(`^${text}$`)
}
