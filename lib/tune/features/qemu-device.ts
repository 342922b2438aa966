import { claimsOf } from '../../change/journal.ts'
import { headComment, type Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import { supports } from '../../core/versions.ts'
import { builtIn, libvirtListLine, libvirtMembers } from '../../edit/libvirt-conf.ts'
import { readHypervisor } from '../../host/hypervisor.ts'
import { isDescribed, type TuneFacts, type TuneFeature, tuneRequirements } from '../feature.ts'

const CONF = '/etc/libvirt/qemu.conf'
/** What NixOS makes of the configuration, and libvirt reads there. Source: nixos/modules/virtualisation/libvirtd.nix. */
const GENERATED = '/var/lib/libvirt/qemu.conf'
const LIST = 'cgroup_device_acl'
const APPARMOR = '/etc/apparmor.d/abstractions/libvirt-qemu'

/**
 * Gives guests devices that QEMU opens by its own arguments (`qemu:commandline`), which libvirt does not see: kvmfr of
 * Looking Glass, or evdev before libvirt 7.4. A guest sees only the devices of this list and of libvirt's own elements.
 * Throws a UserError: `not-needed` where libvirt does it by itself, `no-libvirt`, `contradiction`.
 * Source: qemu.conf of libvirt; https://libvirt.org/formatdomain.html (input devices).
 */
export const qemuDevice: TuneFeature = {
  name: 'qemu-device',
  option: { kind: 'list', value: 'PATH', help: 'let QEMU open a device that libvirt does not know of (/dev/kvmfr0)' },

  requirements(facts, given) {
    const paths = given.list('qemu-device')
    const { files, machine } = facts.host
    for (const path of paths) expectUnknownToLibvirt(path, readHypervisor(files, machine).libvirt)
    const reason = `QEMU may open ${paths.join(' and ')}`
    const notes = [
      `Who may open ${paths.join(' and ')} is another matter: the user or a group of QEMU must be among them.`,
    ]
    if (isDescribed(facts)) {
      const line = libvirtListLine(LIST, [...builtIn('', LIST), ...paths])
      const other = claimsOf(facts.journal).find(
        ({ owner, setting }) => owner === 'qemu-device' && setting.request?.['qemu-device'] !== paths.join(' '),
      )
      if (other !== undefined)
        throw new UserError(
          'contradiction',
          `other devices are set up: take them back first (--undo qemu-device --apply)`,
        )
      expectNoListOfTheirs(facts, paths)
      return tuneRequirements(reason, { required: [{ kind: 'qemu-conf', line }], notes })
    }
    const opened = openedByQemu(facts, paths)
    return tuneRequirements(reason, { settings: opened.settings, notes: [...opened.notes, ...notes] })
  },
}

/** Returns the settings by which libvirt and AppArmor let QEMU open devices. Throws a UserError, code `no-libvirt`. */
export function openedByQemu(facts: TuneFacts, paths: readonly string[]): { settings: Setting[]; notes: string[] } {
  const path = facts.host.files.resolve(CONF)
  if (path === undefined)
    throw new UserError('no-libvirt', `--qemu-device: ${CONF} is not there; --packages installs libvirt first`)
  const reason = `QEMU may open ${paths.join(' and ')}`
  const listed = paths.map((word): Setting => ({ kind: 'libvirt-member', path, variable: LIST, word, reason }))
  const { rules, left } = appArmorRules(facts, paths)
  return { settings: [...listed, ...rules], notes: left }
}

/**
 * Throws a UserError where the configuration of a described system has a list of its own: of two, libvirt takes one.
 * `not-needed`: these devices are in it; `contradiction`, with the whole list to write.
 */
function expectNoListOfTheirs({ host: { files }, journal }: TuneFacts, paths: readonly string[]): void {
  const own = claimsOf(journal).flatMap(({ setting }) => (setting.kind === 'nix-item' ? [setting.item] : []))
  const text = (files.optionalText(GENERATED) ?? '').split('\n')
  const theirs = libvirtMembers(text.filter((line) => !own.includes(line.trim())).join('\n'), LIST)
  if (theirs === undefined) return
  if (paths.every((path) => theirs.includes(path)))
    throw new UserError('not-needed', `--qemu-device ${paths.join(',')}: your configuration's ${LIST} has it already`)
  const line = libvirtListLine(LIST, [...new Set([...theirs, ...paths])])
  throw new UserError(
    'contradiction',
    `${GENERATED}: your configuration has a ${LIST} of its own, and libvirt takes only one; nothing was written`,
    [`In virtualisation.libvirtd.qemu.verbatimConfig, make yours say: ${line}`],
  )
}

/** Returns the rules by which AppArmor, too, lets QEMU open these devices. Source: apparmor.d(5). */
function appArmorRules({ host: { files } }: TuneFacts, paths: readonly string[]): { rules: Setting[]; left: string[] } {
  const text = files.optionalText(APPARMOR)
  if (text === undefined) return { rules: [], left: [] }
  const rules = paths.map((path) => `${path} rw,`)
  const reason = 'AppArmor lets QEMU open it'
  if (text.includes('abstractions/libvirt-qemu.d>'))
    return {
      rules: rules.map((line) => ({
        kind: 'line',
        path: `${APPARMOR}.d/vfio-scripts`,
        head: headComment('tune-host'),
        line,
        reason,
      })),
      left: [],
    }
  return { rules: [], left: [`AppArmor: add to /etc/apparmor.d/local/abstractions/libvirt-qemu: ${rules.join(' ')}`] }
}

function expectUnknownToLibvirt(path: string, libvirt: string | null): void {
  if (!/^\/dev\/[\w.:+/-]+$/.test(path) || path.split('/').includes('..'))
    throw new UserError('usage', `--qemu-device ${path}: not the path of a device below /dev`)
  const no = (why: string): UserError => new UserError('not-needed', `--qemu-device ${path}: ${why}`)
  if (path.startsWith('/dev/shm/')) throw no('a file in shared memory is no device, and every guest may open it')
  if (path.startsWith('/dev/vfio/')) throw no('libvirt opens it by itself for every <hostdev>')
  if (path.startsWith('/dev/input/') && libvirt !== null && supports({ libvirt, qemu: null }, 'evdev'))
    throw no(`libvirt ${libvirt} opens it by itself for <input type='evdev'> (since 7.4.0): gen-domain --evdev`)
}
