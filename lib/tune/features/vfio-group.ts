import type { SettingOf } from '../../change/settings.ts'
import { parseSize, sizeText } from '../../core/sizes.ts'
import { isAltGroup } from '../../host/accounts.ts'
import { vfioInterfacesOf } from '../../host/kernel.ts'
import { type Account, readLoginMemlock } from '../../host/memlock.ts'
import type { Reader } from '../../host/reader.ts'
import { readGroupMembers } from '../../host/user.ts'
import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { matchSettings } from '../in-force.ts'
import { accessFindings, expectGroup, overrulingRules } from '../udev-access.ts'

/** The bytes that QEMU locks beside the memory of the guest. */
const QEMU_MEMORY = 1024 ** 3

/**
 * The nodes by which a guest reaches its devices: what a rule of udev asks of one, and where they are. `newer`: only a
 * kernel with iommufd for devices has them.
 * Source: drivers/vfio/group.c, drivers/vfio/device_cdev.c, drivers/iommu/iommufd/main.c.
 */
const NODES = [
  { match: 'SUBSYSTEM=="vfio"', newer: false, folder: '/dev/vfio', name: /^\d+$/ },
  { match: 'SUBSYSTEM=="vfio-dev"', newer: true, folder: '/dev/vfio/devices', name: /^vfio\d+$/ },
  { match: 'SUBSYSTEM=="misc", KERNEL=="iommu"', newer: true, folder: '/dev', name: /^iommu$/ },
] as const

/** Gives /dev/vfio to a group, whose members may lock a guest's memory. Source: udev(7), limits.conf(5). */
export const vfioGroup: TuneFeature = {
  name: 'vfio-group',
  option: { kind: 'value', value: 'GROUP', help: 'let members of a group (kvm) use /dev/vfio' },
  with: [{ name: 'memory', kind: 'value', value: 'SIZE', help: 'of the guest, for the memory-lock limit' }],

  requirements(facts, given) {
    const group = given.value('vfio-group') ?? ''
    const memory = given.value('memory')
    expectGroup(facts, group)
    const byDevice = facts.host.kernels.some(({ config }) => vfioInterfacesOf(config).devices === true)
    const limit = memory === undefined ? undefined : parseSize('memory', memory) + QEMU_MEMORY
    const lock = limit === undefined ? 'unlimited' : String(Math.ceil(limit / 1024))
    const reason = `members of ${group} may use devices on vfio-pci`
    const why = `and lock ${limit === undefined ? 'as much memory as they want' : sizeText(limit)}, as such guests need it`
    return tuneRequirements(reason, {
      replaces: () => true,
      required: [
        ...NODES.filter(({ newer }) => !newer || byDevice).map(({ match }) => ({
          kind: 'udev-rule' as const,
          rule: `${match}, GROUP="${group}", MODE="0660"`,
        })),
        { kind: 'memlock', group, limit: lock, reason: why },
      ],
      notes: [
        `Put users into the group with usermod -aG ${group} USER; limits hold from their next login on.`,
        ...(isAltGroup(facts.host.files, group)
          ? [`usermod looks into /etc/group only: first, getent group ${group} >> /etc/group.`]
          : []),
      ],
    })
  },

  inForce(host, settings) {
    return NODES.flatMap(({ match, folder, name }) => {
      const nodes = (host.machine.list(folder) ?? []).filter((one) => name.test(one))
      return matchSettings(settings, new RegExp(`^${match}, GROUP="([^"]+)"`)).flatMap(([, group = '']) =>
        nodes.flatMap((one) => accessFindings(host, `${folder}/${one}`, group)),
      )
    })
  },

  overruled: (files, setting) =>
    setting.path.endsWith('.rules') ? overrulingRules(files, setting) : overrulingMemlock(files, setting),
}

/**
 * Returns the limits that win: a line for a user goes before one for a group, and the last of two for one group counts.
 * Source: limits.conf(5).
 */
function overrulingMemlock(files: Reader, { path, line }: SettingOf<'line'>): string[] {
  const [, group = '', value = ''] = /^@(\S+) - memlock (\S+)$/.exec(line) ?? []
  const required = value === 'unlimited' ? Infinity : Number(value) * 1024
  const { members, gid } = readGroupMembers(files, group)
  const anybody: Account = { name: '', uid: Number.NaN, groups: [{ name: group, gid }] }
  return [anybody, ...members].flatMap((who) => {
    const found = readLoginMemlock(files, who)
    const bytes = found?.bytes ?? Infinity
    return found === null || found.place.startsWith(`${path}:`) || bytes >= required
      ? []
      : [`${found.place}: ${bytes / 1024} KiB${who.name === '' ? '' : ` for ${who.name}`}`]
  })
}
