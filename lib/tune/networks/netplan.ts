import { UserError } from '../../cli/error.ts'
import type { Reader } from '../../host/reader.ts'
import { ownHead, type Setting } from '../../plan/setting.ts'
import { type NetworkConfig, ownFile, reasonFor } from './network.ts'
import { networkManager } from './network-manager.ts'
import { networkd } from './networkd.ts'

const PROGRAMS = ['/usr/sbin/netplan', '/sbin/netplan']
const FOLDER = '/etc/netplan'
const OURS = `${FOLDER}/99-vfio-scripts.yaml`
/** What is the card's own, whatever rests on it. */
const CARDS = /^(match|set-name|mtu|macaddress|wakeonlan|emit-lldp|[\w-]*offload|renderer|optional):/

/**
 * netplan, of Ubuntu: lists of several files are joined, so that addresses can only be moved out of the file that has
 * them. Source: netplan(5), netplan-generate(8).
 */
export const netplan: NetworkConfig = {
  name: 'netplan',
  documentation: 'https://netplan.readthedocs.io/en/stable/netplan-yaml/',

  evidence(files, port) {
    if (!PROGRAMS.some((path) => files.exists(path))) return undefined
    return blocksOf(files, port)[0]?.path
  },

  runs(files) {
    if (!PROGRAMS.some((path) => files.exists(path))) return undefined
    const name = (files.list(FOLDER) ?? []).find((one) => one.endsWith('.yaml'))
    return name && `${FOLDER}/${name}`
  },

  // It has no such device; what it writes for takes files of its own beside.
  tap(files, request) {
    const texts = (files.list(FOLDER) ?? []).map((name) => files.text(`${FOLDER}/${name}`) ?? '')
    const renderer = texts.some((text) => /^\s*renderer:\s*NetworkManager\b/m.test(text)) ? networkManager : networkd
    return renderer.tap(files, request)
  },

  settings(files, request) {
    const { name, port, mac, vlan } = request
    const head = ownHead('tune-host')
    const reason = reasonFor(request)
    const own = (text: string): Setting => ownFile(files, OURS, head, text, reason, 0o600)
    if (vlan !== undefined) {
      const lower = `${port}.${vlan}`
      return [
        own(
          `network:\n  version: 2\n  vlans:\n    ${lower}:\n      id: ${vlan}\n      link: ${port}\n  bridges:\n    ${name}:\n      dhcp4: false\n      dhcp6: false\n      link-local: []\n      interfaces: [${lower}]\n`,
        ),
      ]
    }
    const [block, ...more] = blocksOf(files, port)
    if (block === undefined) return []
    if (more.length > 0)
      throw new UserError(
        'unknown-system',
        `${port}: ${block.path} and ${more[0]?.path} both set it up; join them first`,
      )
    const { stay, move } = split(block)
    const keyLine = block.lines[0] ?? ''
    const pad = ' '.repeat(block.indent)
    const to = [keyLine, ...stay, `${pad}dhcp4: false`, `${pad}dhcp6: false`].join('\n')
    const address = mac === undefined ? '' : `      macaddress: ${mac}\n`
    const moved = move.map((line) => `      ${line.slice(block.indent)}\n`).join('')
    return [
      own(`network:\n  version: 2\n  bridges:\n    ${name}:\n      interfaces: [${port}]\n${address}${moved}`),
      { kind: 'replace', path: files.resolve(block.path) ?? block.path, from: block.lines.join('\n'), to, reason },
    ]
  },
}

interface Block {
  path: string
  /** The line with the name, and what belongs to it. */
  lines: string[]
  /** Of what belongs to it. */
  indent: number
}

function split({ lines, indent }: Block): { stay: string[]; move: string[] } {
  const [stay, move]: [string[], string[]] = [[], []]
  let cards = false
  for (const line of lines.slice(1)) {
    const depth = /^ */.exec(line)?.[0].length ?? 0
    if (depth === indent && !line.trim().startsWith('#')) cards = CARDS.test(line.trim())
    ;(cards ? stay : move).push(line)
  }
  return { stay, move }
}

/** Where files of the folder set the card up. Throws a UserError, code `unknown-system`, for flow style and tabs. */
function blocksOf(files: Reader, port: string): Block[] {
  const names = (files.list(FOLDER) ?? []).filter((name) => name.endsWith('.yaml') && !OURS.endsWith(name))
  return names.flatMap((name) => {
    const path = `${FOLDER}/${name}`
    const lines = (files.bytes(path)?.toString('latin1') ?? '').split('\n')
    const top = lines.findIndex((line) => /^ *ethernets:\s*(#.*)?$/.test(line))
    const strange = (): UserError =>
      new UserError(
        'unknown-system',
        `${path}: ${port} is set up in a form of YAML that is not edited here; write it line by line`,
      )
    if (top < 0) {
      if (lines.some((line) => line.includes('ethernets:') && line.includes(port))) throw strange()
      return []
    }
    const depth = (line: string | undefined): number => /^ */.exec(line ?? '')?.[0].length ?? 0
    const isBlank = (line: string): boolean => /^\s*(#.*)?$/.test(line)
    const key = new RegExp(`^ *(["']?)${port.replaceAll('.', '\\.')}\\1:\\s*(.*)$`)
    const outer = depth(lines[top])
    const end = lines.findIndex((line, index) => index > top && !isBlank(line) && depth(line) <= outer)
    const within = lines.slice(0, end < 0 ? undefined : end)
    const at = within.findIndex((line, index) => index > top && key.test(line))
    if (at < 0) return []
    const rest = key.exec(within[at] ?? '')?.[2] ?? ''
    if (!/^(#.*)?$/.test(rest) || within.some((line) => line.includes('\t'))) throw strange()
    const own = depth(within[at])
    const after = within.findIndex((line, index) => index > at && !isBlank(line) && depth(line) <= own)
    const block = within.slice(at, after < 0 ? undefined : after)
    while (isBlank(block.at(-1) ?? 'x')) block.pop()
    return [{ path, lines: block, indent: depth(block[1]) || own + 2 }]
  })
}
