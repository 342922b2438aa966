import { UserError } from '../core/error.ts'
import { parseSize, sizeText } from '../core/sizes.ts'
import { hasAccount, isAltGroup } from '../host/accounts.ts'
import { ownLine, type TuneFacts, type TuneRequirements, tuneRequirements } from './feature.ts'

// Who may use what: /dev/vfio, disks, locked memory. libvirt arranges all of it for its own guests; this is
// for those who run QEMU themselves, without root.

const RULES = '/etc/udev/rules.d/99-vfio-scripts.rules'
const MEMLOCK_CONF = '/etc/security/limits.d/vfio-scripts.conf'
/** What QEMU locks beside the memory of the guest. */
const QEMU_MEMORY = 1024 ** 3

/** /dev/vfio for a group, whose members may lock a guest's memory. Source: udev(7), limits.conf(5). */
export function requireVfioGroup(facts: TuneFacts, group: string, memory: string | undefined): TuneRequirements {
  expectGroup(facts, group)
  const limit = memory === undefined ? undefined : parseSize('memory', memory) + QEMU_MEMORY
  const lock = limit === undefined ? 'unlimited' : String(Math.ceil(limit / 1024))
  const reason = `members of ${group} may use devices on vfio-pci`
  const why = `and lock ${limit === undefined ? 'as much memory as they want' : sizeText(limit)}, as such guests need it`
  return tuneRequirements('vfio-group', reason, {
    replaces: () => true,
    files: [
      ownLine(RULES, `SUBSYSTEM=="vfio", GROUP="${group}", MODE="0660"`, reason),
      ownLine(MEMLOCK_CONF, `@${group} - memlock ${lock}`, why),
    ],
    notes: [
      `Put users into the group with usermod -aG ${group} USER; limits hold from their next login on.`,
      ...(isAltGroup(facts.host.files, group)
        ? [`usermod looks into /etc/group only: first, getent group ${group} >> /etc/group.`]
        : []),
    ],
  })
}

/** A disk or optical drive for members of a group. `path`: a name below /dev/disk/by-id, which stays the same. */
export function requireDisk(facts: TuneFacts, path: string, group: string): TuneRequirements {
  expectGroup(facts, group)
  const name = /^\/dev\/disk\/by-id\/([\w.:+-]+)$/.exec(path)?.[1]
  if (name === undefined)
    throw new UserError('usage', `--disk ${path}: give it by a name that stays, below /dev/disk/by-id`)
  if (facts.host.running && facts.host.machine.link(path) === undefined)
    throw new UserError('no-disk', `--disk ${path}: there is no such disk on this machine`)
  const reason = `members of ${group} may use ${path}`
  const disk = `SUBSYSTEM=="block", ENV{DEVLINKS}=="*/by-id/${name}|*/by-id/${name} *"`
  const rule = `${disk}, GROUP="${group}", MODE="0660"`
  return tuneRequirements('disk', reason, {
    files: [ownLine(RULES, rule, reason)],
    // Another group for the same disk.
    replaces: (setting) =>
      'line' in setting ? setting.line.startsWith(disk) : 'item' in setting && setting.item.startsWith(disk),
  })
}

function expectGroup({ host: { files } }: TuneFacts, group: string): void {
  if (!/^[a-z_][a-z0-9_-]*$/.test(group)) throw new UserError('usage', `${group}: not the name of a group`)
  if (hasAccount(files, 'group', group) === false)
    throw new UserError(
      'no-group',
      `${group}: there is no such group; install QEMU first, or groupadd --system ${group}`,
    )
}
