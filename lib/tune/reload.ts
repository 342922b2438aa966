import type { CommandChange } from '../change/plan.ts'
import { startsLibvirtByOpenrc } from '../host/find-program.ts'
import type { Host } from '../system/system.ts'

/** The commands that have programs read a file again, by its folder; other files are read at the next boot. */
const RELOADS: readonly { below: string; commands: readonly (readonly [string, ...string[]])[] }[] = [
  {
    below: '/etc/udev/rules.d/',
    commands: [
      ['udevadm', 'control', '--reload'],
      // Where a rule is removed, the node's owner and mode stay until the boot.
      ['udevadm', 'trigger', '--subsystem-match=vfio', '--subsystem-match=block'],
    ],
  },
  // Shows before the boot what netplan does not understand.
  { below: '/etc/netplan/', commands: [['netplan', 'generate']] },
  { below: '/etc/systemd/system/', commands: [['systemctl', 'daemon-reload']] },
  // Makes the TAP device; a bridge waits for the boot.
  { below: '/etc/systemd/network/50-vfio-scripts-', commands: [['networkctl', 'reload']] },
]

const QEMU_CONF = '/etc/libvirt/qemu.conf'
/** The files of networks, of which libvirt keeps its own copy. */
const NETWORK = /^\/etc\/vfio-scripts\/network-(.+)\.xml$/

/** Returns the commands that make changes of these files, or their removal, effective on the running system. */
export function reloadCommands({ running, files }: Host, paths: readonly string[], coming: boolean): CommandChange[] {
  if (!running) return []
  const again = paths.includes(files.resolve(QEMU_CONF) ?? QEMU_CONF) ? restartLibvirt(files) : []
  const read = RELOADS.filter(({ below }) => paths.some((path) => path.startsWith(below))).flatMap(
    ({ below, commands }) => commands.map((argv) => reloadCommand(argv, argv, `for ${below}`)),
  )
  // libvirt looks only when it starts or reads its configuration again whether there are hooks.
  const hooks = paths.some((path) => path.startsWith('/etc/libvirt/hooks/')) ? reloadLibvirt(files) : []
  const networks = paths.flatMap((path) => {
    const name = NETWORK.exec(path)?.[1]
    if (name === undefined) return []
    const virsh = (...words: string[]): string[] => ['virsh', '-c', 'qemu:///system', ...words]
    const steps: [string[], string[]][] = [
      [virsh('net-define', path), virsh('net-undefine', name)],
      [virsh('net-autostart', name), virsh('net-autostart', '--disable', name)],
      [virsh('net-start', name), virsh('net-destroy', name)],
    ]
    const order = coming ? steps : [...steps].reverse().map(([there, back]) => [back, there] as [string[], string[]])
    return order.map(([argv, inverse]) => reloadCommand(argv, inverse, 'the network of libvirt'))
  })
  return [...read, ...again, ...hooks, ...networks]
}

const libvirtUnits = (files: Host['files']): string[] =>
  ['libvirtd.service', 'virtqemud.service'].filter((unit) =>
    ['/usr/lib', '/lib'].some((folder) => files.exists(`${folder}/systemd/system/${unit}`)),
  )

/** Returns the command that has libvirt read its configuration again where it runs. Source: libvirt.org/hooks.html. */
function reloadLibvirt(files: Host['files']): CommandChange[] {
  const units = libvirtUnits(files)
  const argv = ['systemctl', 'try-reload-or-restart', ...units]
  return units.length > 0 ? [reloadCommand(argv, argv, 'libvirt looks for hooks')] : []
}

/** Returns the command that restarts libvirt where it runs; guests run on. */
function restartLibvirt(files: Host['files']): CommandChange[] {
  const units = libvirtUnits(files)
  const openrc = startsLibvirtByOpenrc(files)
  const argv = openrc ? ['rc-service', '--ifstarted', 'libvirtd', 'restart'] : ['systemctl', 'try-restart', ...units]
  return openrc || units.length > 0 ? [reloadCommand(argv, argv, 'libvirt reads it again')] : []
}

function reloadCommand(argv: readonly string[], inverse: readonly string[], reason: string): CommandChange {
  return { kind: 'command', argv, inverse, touches: [], reason }
}
