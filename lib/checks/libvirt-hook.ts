import coerce from 'semver/functions/coerce.js'
import lt from 'semver/functions/lt.js'
import { type CheckResult, okResult, problemResult, unknownResult } from '../core/finding.ts'
import { HOOK } from '../hand-over/hand-over-paths.ts'
import { readLibvirtVersion } from '../host/hypervisor.ts'
import type { Host } from '../system/system.ts'
import type { Check } from './check.ts'

/** The facts by which libvirt's hook works. */
export interface HookFacts {
  host: Host
  /** Is the hook going to be in its place? */
  willHook?: boolean
}

const BOOLEAN = '/sys/fs/selinux/booleans/virt_hooks_unconfined'
const PROFILES = ['/etc/apparmor.d/usr.sbin.libvirtd', '/etc/apparmor.d/usr.sbin.virtqemud'] as const

/**
 * May libvirt's hook start a unit here? libvirt runs a folder of hooks since 6.5; a hook has the confinement of libvirt.
 * Source: libvirt.org/hooks.html; src/security/apparmor/usr.sbin.libvirtd.in of libvirt; virt_selinux(8).
 */
export const libvirtHookCheck: Check<HookFacts, CheckResult[]> = {
  code: 'libvirt-hook',
  forceable: true,
  askedBy: ['host', 'hand-over'],
  run({ host: { files, machine }, willHook = files.exists(HOOK) }) {
    if (!willHook) return []
    const version = readLibvirtVersion(files)
    const known = coerce(version)
    if (known !== null && lt(known, '6.5.0'))
      return [problemResult(`libvirt ${version} calls no hooks of a folder`, [HOOK], 'update libvirt to 6.5 or newer')]
    const off = machine.optionalText(BOOLEAN)?.startsWith('0')
    if (off === true)
      return [
        problemResult(
          'SELinux keeps hooks of libvirt from starting a unit',
          [BOOLEAN],
          'setsebool -P virt_hooks_unconfined on',
        ),
      ]
    const profile = PROFILES.find((path) => files.exists(path)) ?? PROFILES[0]
    const enforced = machine.optionalText('/sys/module/apparmor/parameters/enabled')?.trim() === 'Y'
    const local = profile.replace('.d/', '.d/local/')
    const text = [profile, local]
      .map((path) => files.optionalText(path) ?? '')
      .join('\n')
      .trim()
    if (enforced && text !== '' && !lets(text, '/etc/libvirt/hooks/', 'ix'))
      return [
        problemResult(
          'AppArmor keeps libvirt from running its hooks',
          [profile],
          `add to ${local}: /etc/libvirt/hooks/** rmix,`,
        ),
      ]
    if (enforced && text !== '' && !lets(text, '/usr/bin/', 'Ux'))
      return [
        problemResult(
          'AppArmor keeps hooks of libvirt from starting a unit',
          [profile],
          `add to ${local}: /usr/bin/systemctl PUx,`,
        ),
      ]
    const how = [
      ...(version === null ? [] : [`libvirt ${version}`]),
      ...(off === false ? ['SELinux has virt_hooks_unconfined on'] : []),
      ...(enforced && text !== '' ? [`AppArmor: ${profile} lets it`] : []),
    ]
    return how.length > 0
      ? [okResult('A hook of libvirt can start a unit', how)]
      : [
          unknownResult('Not known whether a hook of libvirt can start a unit', [
            'libvirt and its confinement were not seen',
          ]),
        ]
  },
}

/** Does a profile let programs below this folder be run in one of these ways? Source: apparmor.d(5). */
function lets(profile: string, folder: string, mode: string): boolean {
  return profile.split('\n').some((line) => {
    const [, path = '', access = ''] = /^\s*"?(\/\S+?)"?\s+(\w+),/.exec(line) ?? []
    return path.replace('{usr/,}', 'usr/').startsWith(folder) && access.includes(mode)
  })
}
