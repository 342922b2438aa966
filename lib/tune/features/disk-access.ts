import { UserError } from '../../core/error.ts'
import { type TuneFeature, tuneRequirements } from '../feature.ts'
import { matchSettings } from '../in-force.ts'
import { accessFindings, expectGroup, overrulingRules } from '../udev-access.ts'

/** Gives a disk or optical drive to members of a group, by a name below /dev/disk/by-id, which stays the same. */
export const diskAccess: TuneFeature = {
  name: 'disk',
  ofMachine: true,
  option: { kind: 'value', value: 'PATH', help: 'let members of a group use this disk (/dev/disk/by-id/…)' },
  with: [{ name: 'disk-group', kind: 'value', value: 'GROUP', help: 'the group [kvm]' }],

  requirements(facts, given) {
    const path = given.value('disk') ?? ''
    const group = given.value('disk-group') ?? 'kvm'
    expectGroup(facts, group)
    const name = /^\/dev\/disk\/by-id\/([\w.:+-]+)$/.exec(path)?.[1]
    if (name === undefined)
      throw new UserError('usage', `--disk ${path}: give it by a name that stays, below /dev/disk/by-id`)
    if (facts.host.running && facts.host.machine.link(path) === undefined)
      throw new UserError('no-disk', `--disk ${path}: there is no such disk on this machine`)
    const reason = `members of ${group} may use ${path}`
    const disk = `SUBSYSTEM=="block", ENV{DEVLINKS}=="*/by-id/${name}|*/by-id/${name} *"`
    return tuneRequirements(reason, {
      required: [{ kind: 'udev-rule', rule: `${disk}, GROUP="${group}", MODE="0660"` }],
      // An earlier run may have given the same disk to another group.
      replaces: (setting) => setting.request?.disk === path,
    })
  },

  inForce: (host, settings) =>
    matchSettings(settings, /^SUBSYSTEM=="block", ENV\{DEVLINKS\}=="\*\/(by-id\/[^|]+)\|.*GROUP="([^"]+)"/).flatMap(
      ([, disk, group = '']) => accessFindings(host, `/dev/disk/${disk}`, group),
    ),

  overruled: overrulingRules,
}
