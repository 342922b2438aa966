import type { CommandChange } from '../change/plan.ts'
import type { Distro, ExternalTokens, Host } from '../system/system.ts'

// Names of settings that programs keep, and that commands of this file make.
export const PACKAGES = 'packages'
export const SERVICES = 'services'
/** Of netifrc: the links to net.lo, and OpenRC's default runlevel. */
export const NET_LINKS = 'init.d'
export const RUNLEVEL = 'runlevel'
export const INIT_FOLDER = '/etc/init.d'
export const DEFAULT_RUNLEVEL = '/etc/runlevels/default'

/** What settings of these kinds come to, and their going: in the system that runs, or in a chroot. */
export function externalCommands(
  host: Host,
  distro: Distro | undefined,
  change: (by: string) => ExternalTokens,
): CommandChange[] {
  const unattended = distro?.packages.unattended
  const some = change(PACKAGES)
  const commands: CommandChange[] = []
  const push = (argv: readonly string[], inverse: readonly string[], reason: string): void => {
    commands.push({ kind: 'command', argv, inverse, touches: [], reason })
  }
  if (unattended !== undefined) {
    const { install, remove } = unattended
    if (some.add.length > 0) push([...install, ...some.add], [...remove, ...some.add], 'packages')
    if (some.remove.length > 0) push([...remove, ...some.remove], [...install, ...some.remove], 'packages')
  }
  const level = (what: string, name: string): string[] => ['rc-update', what, name, 'default']
  const openrc = host.files.exists(`${INIT_FOLDER}/libvirtd`)
  const service = (name: string): [on: string[], off: string[]] => {
    if (openrc) return [level('add', name), level('del', name)]
    const now = host.running ? ['--now'] : []
    return [
      ['systemctl', 'enable', ...now, name],
      ['systemctl', 'disable', ...now, name],
    ]
  }
  const { add, remove } = change(SERVICES)
  for (const [on, off] of add.map(service)) push(on, off, 'the service')
  for (const [on, off] of remove.map(service)) push(off, on, 'the service')

  const [links, levels] = [change(NET_LINKS), change(RUNLEVEL)]
  const link = (name: string): string[] => ['ln', '-s', 'net.lo', `${INIT_FOLDER}/${name}`]
  const unlink = (name: string): string[] => ['rm', `${INIT_FOLDER}/${name}`]
  const linked = (name: string): boolean => host.files.exists(`${INIT_FOLDER}/${name}`)
  const started = (name: string): boolean => host.files.exists(`${DEFAULT_RUNLEVEL}/${name}`)
  for (const name of links.add) if (!linked(name)) push(link(name), unlink(name), 'a service of its own')
  for (const name of levels.add) if (!started(name)) push(level('add', name), level('del', name), 'at boot')
  for (const name of levels.remove) if (started(name)) push(level('del', name), level('add', name), 'no more at boot')
  for (const name of links.remove) if (linked(name)) push(unlink(name), link(name), 'the service')
  return commands
}
