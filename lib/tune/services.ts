import type { CommandChange } from '../plan/plan.ts'
import type { Distro, Host, KeptChange } from '../plan/system.ts'

// Names of settings that programs keep, and that commands of this file make.
export const PACKAGES = 'packages'
export const SERVICES = 'services'
/** Of netifrc: the links to net.lo, and OpenRC's default runlevel. */
export const LINKS = 'init.d'
export const RUNLEVEL = 'runlevel'
export const INIT = '/etc/init.d'
export const DEFAULT = '/etc/runlevels/default'

/** What settings of these kinds come to, and their going: in the system that runs, or in a chroot. */
export function keptCommands(
  host: Host,
  distro: Distro | undefined,
  change: (by: string) => KeptChange,
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
  const openrc = host.files.exists('/etc/init.d/libvirtd')
  const { add, remove } = change(SERVICES)
  const now = host.running ? ['--now'] : []
  const enable = ['systemctl', 'enable', ...now]
  const disable = ['systemctl', 'disable', ...now]
  for (const name of add) {
    if (openrc) push(['rc-update', 'add', name, 'default'], ['rc-update', 'del', name, 'default'], 'the service')
    else push([...enable, name], [...disable, name], 'the service')
  }
  for (const name of remove) {
    if (openrc) push(['rc-update', 'del', name, 'default'], ['rc-update', 'add', name, 'default'], 'the service')
    else push([...disable, name], [...enable, name], 'the service')
  }
  const { files } = host
  const [links, levels] = [change(LINKS), change(RUNLEVEL)]
  const link = (name: string): string[] => ['ln', '-s', 'net.lo', `${INIT}/${name}`]
  const unlink = (name: string): string[] => ['rm', `${INIT}/${name}`]
  const start = (name: string): string[] => ['rc-update', 'add', name, 'default']
  const stop = (name: string): string[] => ['rc-update', 'del', name, 'default']
  const [linked, started] = [
    (name: string): boolean => files.exists(`${INIT}/${name}`),
    (name: string): boolean => files.exists(`${DEFAULT}/${name}`),
  ]
  for (const name of links.add) if (!linked(name)) push(link(name), unlink(name), 'a service of its own')
  for (const name of levels.add) if (!started(name)) push(start(name), stop(name), 'at boot')
  for (const name of levels.remove) if (started(name)) push(stop(name), start(name), 'no more at boot')
  for (const name of links.remove) if (linked(name)) push(unlink(name), link(name), 'the service')
  return commands
}
