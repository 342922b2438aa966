import type { Reader } from '../host/reader.ts'
import type { DeviceUsage } from '../host/usage.ts'

/** What a process belongs to, by its control group: who can end it, and start it again. */
export type HolderKind = 'service' | 'session' | 'user-service' | 'guest' | 'manager' | 'other'

/** A process that has a device of the card open, and the unit that it belongs to. */
export interface Holder {
  pid: number
  /** The process's comm, 15 characters at most. */
  process: string
  node: string
  kind: HolderKind
  /** `gdm.service`, `session-2.scope`, `wireplumber.service`; the control group where it is none of those. */
  unit: string
}

/** Returns who has the devices open, each with its unit. Source: cgroups(7); systemd.slice(5), `systemctl status PID`. */
export function readHolders(reader: Reader, usage: DeviceUsage): Holder[] {
  const groups = new Map<number, string>()
  return usage.open.nodes.flatMap(({ node, processes }) =>
    processes.map(({ pid, name }): Holder => {
      const group = groups.get(pid) ?? readControlGroup(reader, pid)
      groups.set(pid, group)
      return { pid, process: name, node, ...holdingUnit(group, name) }
    }),
  )
}

/** Returns the path of a process's control group: that of cgroup v2, or of systemd's own hierarchy beside v1. */
function readControlGroup(reader: Reader, pid: number): string {
  const text = reader.optionalText(`/proc/${pid}/cgroup`) ?? ''
  return (/^\d+:name=systemd:(.*)$/m.exec(text) ?? /^0::(.*)$/m.exec(text))?.[1] ?? ''
}

/** systemd-logind and the service manager keep nodes open for sessions, and let go when those end. */
const MANAGERS = ['init.scope', 'systemd-logind.service', 'elogind.service']

function holdingUnit(group: string, process: string): Pick<Holder, 'kind' | 'unit'> {
  const names = group.split('/').filter((name) => name !== '')
  const last = names.at(-1) ?? ''
  if (names.includes('machine.slice') || process.startsWith('qemu-')) return { kind: 'guest', unit: last || group }
  if (names.some((name) => name.startsWith('user@')) && last !== 'init.scope') {
    const own = names
      .slice(names.findIndex((name) => name.startsWith('user@')) + 1)
      .find((name) => /\.service$/.test(name))
    return own === undefined ? { kind: 'session', unit: last } : { kind: 'user-service', unit: own }
  }
  const session = names.find((name) => /^session-.+\.scope$/.test(name))
  if (session !== undefined) return { kind: 'session', unit: session }
  if (MANAGERS.some((name) => names.includes(name))) return { kind: 'manager', unit: last }
  const service = names.find((name) => /\.service$/.test(name))
  return service === undefined ? { kind: 'other', unit: group } : { kind: 'service', unit: service }
}
