import { headComment, type Setting } from '../../change/settings.ts'
import { UserError } from '../../core/error.ts'
import { framesSize, KVMFR, SHARED_FRAMES } from '../../guest/devices/looking-glass.ts'
import { hasAccount } from '../../host/accounts.ts'
import { libvirtUser } from '../../host/disk-images.ts'
import { readGroupMembers } from '../../host/user.ts'
import type { RequiredState } from '../../system/requirement.ts'
import { expectSystemd, isDescribed, type TuneFacts, type TuneFeature, tuneRequirements } from '../feature.ts'
import { matchSettings } from '../in-force.ts'
import { accessFindings, expectGroup, overrulingRules } from '../udev-access.ts'
import { openedByQemu } from './qemu-device.ts'

const GROUP = 'kvm'

/**
 * Gives Looking Glass the memory in which the guest hands over its frames: kvmfr's where that module is installed, else a
 * file in /dev/shm with the right owner. Throws a UserError: `usage`, `no-user`, `no-group`, `unknown-system`.
 * Source: https://looking-glass.io/docs (IVSHMEM with the KVMFR module; with standard shared memory); tmpfiles.d(5).
 */
export const frameMemory: TuneFeature = {
  name: 'looking-glass',
  option: { kind: 'value', value: 'WxH', help: 'the memory for Looking Glass at this resolution: kvmfr, or a file' },
  with: [
    { name: 'viewer', kind: 'value', value: 'USER', help: 'who looks: the owner of that memory [members of kvm]' },
  ],

  requirements(facts, given) {
    const { files, kernels } = facts.host
    const { mib } = framesSize('looking-glass', given.value('looking-glass') ?? '')
    const viewer = given.value('viewer')
    if (viewer !== undefined) expectViewer(facts, viewer)
    expectGroup(facts, GROUP)
    if (isDescribed(facts))
      throw new UserError(
        'unknown-system',
        '--looking-glass is not written on NixOS: in your configuration, boot.extraModulePackages takes kvmfr, and systemd.tmpfiles.rules the file',
      )
    expectSystemd(facts, '--looking-glass', `make ${SHARED_FRAMES} with mode 0660 and group ${GROUP} at each boot`)
    const who = viewer === undefined ? `members of ${GROUP}` : `${viewer} and members of ${GROUP}`
    const installed = files.exists(KVMFR) || kernels.some((one) => one.provides('kvmfr') === 'module')
    const replaces = (): boolean => true
    const notes = qemuNotes(facts)
    if (!installed) {
      const line = `f ${SHARED_FRAMES} 0660 ${viewer ?? 'root'} ${GROUP} -`
      const place = '/etc/tmpfiles.d/vfio-scripts-looking-glass.conf'
      const reason = `${who} may open the frames`
      const own: Setting = { kind: 'line', path: place, head: headComment('tune-host'), line, reason }
      return tuneRequirements(`${mib} MiB of shared memory for Looking Glass`, {
        replaces,
        settings: [own],
        notes: [
          `No kernel here has the module kvmfr, so it is shared memory, which no GPU reads by itself: dkms install . in the folder module of Looking Glass's sources makes it, and then run this again.`,
          `At once: systemd-tmpfiles --create ${place}; a file of another size has to be removed first (rm ${SHARED_FRAMES}).`,
          ...notes,
        ],
        rebootNeeded: true,
      })
    }
    const owner = viewer === undefined ? '' : `OWNER="${viewer}", `
    const required: RequiredState[] = [
      { kind: 'module-options', module: 'kvmfr', options: [`static_size_mb=${mib}`] },
      { kind: 'udev-rule', rule: `SUBSYSTEM=="kvmfr", ${owner}GROUP="${GROUP}", MODE="0660"` },
    ]
    const load: Setting = {
      kind: 'line',
      path: '/etc/modules-load.d/vfio-scripts-kvmfr.conf',
      head: headComment('tune-host'),
      line: 'kvmfr',
      reason: 'kvmfr is loaded at boot',
    }
    const opened = files.exists('/etc/libvirt/qemu.conf') ? openedByQemu(facts, [KVMFR]) : { settings: [], notes: [] }
    return tuneRequirements(`${mib} MiB of kvmfr for Looking Glass, for ${who}`, {
      replaces,
      required,
      settings: [load, ...opened.settings],
      notes: [
        `At once: rmmod kvmfr; modprobe kvmfr, while no guest uses it. The guest must say the same size: gen-domain --looking-glass ${given.value('looking-glass')}.`,
        ...opened.notes,
        ...notes,
        ...seLinuxNotes(facts),
      ],
      rebootNeeded: true,
    })
  },

  inForce: (host, settings) => [
    ...matchSettings(settings, /^SUBSYSTEM=="kvmfr", .*GROUP="([^"]+)"/).flatMap(([, group = '']) =>
      accessFindings(host, KVMFR, group),
    ),
    ...matchSettings(settings, /^f \/dev\/shm\/looking-glass 0660 \S+ (\S+) -$/).flatMap(([, group = '']) =>
      accessFindings(host, SHARED_FRAMES, group),
    ),
  ],

  overruled: (files, setting) => (setting.path.endsWith('.rules') ? overrulingRules(files, setting) : []),
}

function expectViewer({ host: { files } }: TuneFacts, viewer: string): void {
  if (!/^[a-z_][a-z0-9_-]*$/.test(viewer)) throw new UserError('usage', `--viewer ${viewer}: not the name of a user`)
  if (hasAccount(files, 'passwd', viewer) === false)
    throw new UserError('no-user', `--viewer ${viewer}: there is no such user on this system`)
}

/** Returns what is left to do where QEMU's own user is no member of the group. */
function qemuNotes({ host: { files } }: TuneFacts): string[] {
  const user = libvirtUser(files)
  const { gid } = readGroupMembers(files, GROUP)
  return user === undefined || user.uid === 0 || user.gids.includes(gid)
    ? []
    : [
        `QEMU runs as ${user.name}, who is no member of ${GROUP}: usermod -aG ${GROUP} ${user.name}, and restart libvirt.`,
      ]
}

/** Returns how SELinux lets guests map the device, whose label has no rule for them. Source: semodule(8). */
function seLinuxNotes({ host: { files } }: TuneFacts): string[] {
  if (!/^\s*SELINUX=enforcing\s*$/m.test(files.optionalText('/etc/selinux/config') ?? '')) return []
  return [
    `SELinux keeps guests from ${KVMFR}: write (allow svirt_t device_t (chr_file (open read write map))) into kvmfr.cil, then semodule -i kvmfr.cil; semodule -r kvmfr takes it back. It holds for every device without a label of its own that file permissions and libvirt's list let a guest open.`,
  ]
}
