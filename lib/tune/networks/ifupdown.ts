import type { Reader } from '../../host/reader.ts'
import { ownHead, type Setting } from '../../plan/setting.ts'
import { type NetworkConfig, ownFile, reasonFor } from './network.ts'

const MAIN = '/etc/network/interfaces'
const FOLDER = '/etc/network/interfaces.d'

/** Debian's ifup and ifdown: stanzas of /etc/network/interfaces. The bridge is made with ip, which is always there. */
export const ifupdown: NetworkConfig = {
  name: 'ifupdown',
  documentation: 'https://manpages.debian.org/bookworm/ifupdown/interfaces.5.en.html',

  evidence(files, port) {
    if (!['/sbin/ifup', '/usr/sbin/ifup'].some((path) => files.exists(path))) return undefined
    return filesOf(files).find(({ text }) => stanza(port).test(text))?.path
  },

  settings(files, request) {
    const { name, port, vlan } = request
    const reason = reasonFor(request)
    if (vlan !== undefined) {
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

/** The main file and what it takes in. Source: interfaces(5), INCLUDING OTHER FILES. */
function filesOf(files: Reader): { path: string; text: string }[] {
  const read = (path: string): { path: string; text: string }[] => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  }
  const main = read(MAIN)
  const taken = /^\s*source(-directory)?\s+(\/etc\/network\/)?interfaces\.d\b/m.test(main[0]?.text ?? '')
  const names = taken ? (files.list(FOLDER) ?? []).filter((name) => /^[\w-]+$/.test(name)) : []
  return [...main, ...names.flatMap((name) => read(`${FOLDER}/${name}`))]
}
