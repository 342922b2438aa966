import { UserError } from '../../cli/error.ts'
import type { Reader } from '../../host/reader.ts'
import { ownHead, type Setting } from '../../plan/setting.ts'
import { type NetworkConfig, ownFile, reasonFor, tapReason } from './network.ts'

const MAIN = '/etc/network/interfaces'
const FOLDER = '/etc/network/interfaces.d'

/** Debian's ifup and ifdown: stanzas of /etc/network/interfaces. The bridge is made with ip, which is always there. */
export const ifupdown: NetworkConfig = {
  name: 'ifupdown',
  documentation: 'https://manpages.debian.org/bookworm/ifupdown/interfaces.5.en.html',

  evidence(files, port) {
    return ifupdown.runs(files) && filesOf(files).find(({ text }) => stanza(port).test(text))?.path
  },

  runs: (files) =>
    ['/sbin/ifup', '/usr/sbin/ifup'].some((path) => files.exists(path)) ? filesOf(files)[0]?.path : undefined,

  tap(files, { name, user, bridge }) {
    const lines = [
      `auto ${name}`,
      `iface ${name} inet manual`,
      `    pre-up ip tuntap add dev ${name} mode tap user ${user}`,
      // The folder is read before the bridge's own lines, as a rule. ifupdown-ng goes by the first.
      ...(bridge === undefined
        ? []
        : [
            `    requires ${bridge}`,
            `    pre-up ip link show dev ${bridge} >/dev/null 2>&1 || ifup ${bridge}`,
            `    pre-up ip link set dev ${name} master ${bridge}`,
          ]),
      `    up ip link set dev ${name} up`,
      `    post-down ip tuntap del dev ${name} mode tap`,
    ]
    expectTaken(files)
    const path = `${FOLDER}/vfio-scripts-${name.replace(/\W/g, '_')}`
    return [ownFile(files, path, ownHead('tune-host'), lines.join('\n'), tapReason(name, user))]
  },

  settings(files, request) {
    const { name, port, vlan } = request
    const reason = reasonFor(request)
    if (vlan !== undefined) {
      expectTaken(files)
      const lower = `${port}.${vlan}`
      const text = `auto ${name}\niface ${name} inet manual\n${portLines(name, lower, [
        `    pre-up ip link add link ${port} name ${lower} type vlan id ${vlan}`,
      ]).join('\n')}\n    post-down ip link del ${lower}\n`
      return [ownFile(files, `${FOLDER}/vfio-scripts`, ownHead('tune-host'), text, reason)]
    }
    return filesOf(files).flatMap(({ path, text }) => {
      let made = false
      return text.split('\n').flatMap((from): Setting[] => {
        let to = from
        if (/^\s*(auto|allow-\S+)\s/.test(from)) to = renamed(from, port, name).replace(/^(\s*)allow-\S+/, '$1auto')
        else if (stanza(port).test(from)) {
          to = [from.replace(/^(\s*iface\s+)\S+/, `$1${name}`), ...(made ? [] : portLines(name, port))].join('\n')
          made = true
        }
        if (to === from || !mentions(from, port)) return []
        return [{ kind: 'replace', path: files.resolve(path) ?? path, from, to, reason }]
      })
    })
  },
}

function portLines(name: string, port: string, before: readonly string[] = []): string[] {
  return [
    `    pre-up ip link add name ${name} type bridge`,
    ...before,
    `    pre-up ip link set ${port} master ${name}`,
    `    pre-up ip link set ${port} up`,
    `    post-down ip link del ${name}`,
  ]
}

function stanza(port: string): RegExp {
  return new RegExp(`^\\s*iface\\s+${port.replaceAll('.', '\\.')}\\s`, 'm')
}

function mentions(line: string, port: string): boolean {
  return line.split(/\s+/).includes(port)
}

function renamed(line: string, port: string, name: string): string {
  return line
    .split(/(\s+)/)
    .map((word) => (word === port ? name : word))
    .join('')
}

const TAKEN = /^\s*source(-directory)?\s+(\/etc\/network\/)?interfaces\.d\b/m

/** Throws a UserError, code `unknown-system`, where a file of our own in the folder would not be read. */
function expectTaken(files: Reader): void {
  if (TAKEN.test(files.bytes(MAIN)?.toString('latin1') ?? '')) return
  throw new UserError(
    'unknown-system',
    `${MAIN}: does not read ${FOLDER}; add a line first: source-directory ${FOLDER}`,
  )
}

/** The main file and what it takes in. Source: interfaces(5), INCLUDING OTHER FILES. */
function filesOf(files: Reader): { path: string; text: string }[] {
  const read = (path: string): { path: string; text: string }[] => {
    const text = files.bytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  }
  const main = read(MAIN)
  const taken = TAKEN.test(main[0]?.text ?? '')
  const names = taken ? (files.list(FOLDER) ?? []).filter((name) => /^[\w-]+$/.test(name)) : []
  return [...main, ...names.flatMap((name) => read(`${FOLDER}/${name}`))]
}
