import type { CommandChange } from '../plan/plan.ts'
import type { Host } from '../plan/system.ts'

/** Which programs look at a file again, by where it lies; others do with the next boot. */
const RELOADS: readonly { below: string; commands: readonly (readonly [string, ...string[]])[] }[] = [
  {
    below: '/etc/udev/rules.d/',
    commands: [
      ['udevadm', 'control', '--reload'],
      // As when they came: only then are owner and mode set back where no rule sets them any more.
      ['udevadm', 'trigger', '--action=add', '--subsystem-match=vfio'],
      ['udevadm', 'trigger', '--subsystem-match=block'],
    ],
  },
  // It says what netplan itself does not understand, before the boot does.
  { below: '/etc/netplan/', commands: [['netplan', 'generate']] },
  { below: '/etc/systemd/system/', commands: [['systemctl', 'daemon-reload']] },
  // The TAP device; a bridge waits for the boot.
  { below: '/etc/systemd/network/50-vfio-scripts-', commands: [['networkctl', 'reload']] },
]

/** What makes changes to these files effective, and their going too: in the system that runs, no other. */
export function reloads({ running }: Host, paths: readonly string[]): CommandChange[] {
  if (!running) return []
  return RELOADS.filter(({ below }) => paths.some((path) => path.startsWith(below))).flatMap(({ below, commands }) =>
    commands.map((argv) => ({ kind: 'command', argv, inverse: argv, touches: [], reason: `for ${below}` })),
  )
}
