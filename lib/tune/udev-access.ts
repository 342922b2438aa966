import type { SettingOf } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { globPattern } from '../core/glob.ts'
import { hasAccount } from '../host/accounts.ts'
import { configLines, configLineText, dropInFolders, readDropIns } from '../host/drop-ins.ts'
import type { Reader } from '../host/reader.ts'
import { readGroupMembers } from '../host/user.ts'
import type { Host } from '../system/system.ts'
import type { TuneFacts } from './feature.ts'
import { inForceFinding } from './in-force.ts'

// udev rules that give a device node to a group. libvirt arranges access for its own guests; this is for people who run
// QEMU themselves, without root.

/** Throws a UserError: `usage` for an invalid name of a group, `no-group` for one that this system does not know. */
export function expectGroup({ host: { files } }: TuneFacts, group: string): void {
  if (!/^[a-z_][a-z0-9_-]*$/.test(group)) throw new UserError('usage', `${group}: not the name of a group`)
  if (hasAccount(files, 'group', group) === false)
    throw new UserError(
      'no-group',
      `${group}: there is no such group; install QEMU first, or groupadd --system ${group}`,
    )
}

/** Checks that the node is open to the group now. No finding where there is no node, or the group's ID is unknown. */
export function accessFindings({ machine, files }: Host, path: string, group: string): Finding[] {
  const { gid } = readGroupMembers(files, group)
  const now = machine.access(path)
  if (now === undefined || Number.isNaN(gid)) return []
  const ok = now.gid === gid && (now.mode & 0o60) === 0o60
  const mode = (now.mode & 0o777).toString(8)
  const summary = `${path} is ${ok ? '' : 'not '}open to ${group} (group ${now.gid}, mode ${mode})`
  return [inForceFinding('access', ok, summary, [], 'reboot, or see which rule of udev wins: udevadm test')]
}

/**
 * Returns the rules that win over one of ours: the last assignment counts, unless an earlier one is final (`:=`).
 * Source: udev(7).
 */
export function overrulingRules(files: Reader, { path, line }: SettingOf<'line'>): string[] {
  const own = parseUdevRule(line)
  const required = own.filter(({ key }) => key === 'GROUP' || key === 'MODE')
  const match = own.filter(({ operator }) => operator === '==')
  const subsystem = match.find(({ key }) => key === 'SUBSYSTEM')?.value ?? ''
  const name = match.find(({ key }) => key !== 'SUBSYSTEM')?.value.split('|')[0]
  const all = readDropIns(files, dropInFolders('udev/rules.d'), /^[^.].*\.rules$/s)
  const at = all.findIndex((one) => one.path === path)
  return all.flatMap((file, index) =>
    file.path === path
      ? []
      : configLines([file]).flatMap((one) => {
          const said = parseUdevRule(one.text)
          const conditions = said.filter(({ operator }) => operator === '==' || operator === '!=')
          const about = conditions.some(
            ({ key, value, operator }) =>
              key === 'SUBSYSTEM' &&
              operator === '==' &&
              value.split('|').some((each) => globPattern(each).test(subsystem)),
          )
          // For a disk: a rule that names it, or one for all disks.
          const near =
            name === undefined ||
            conditions.every(({ key }) => /^(SUBSYSTEM|ACTION)$/.test(key)) ||
            one.text.includes(name.replace(/^.*\//, ''))
          const wins = said.some(
            ({ key, operator, value }) =>
              required.some((each) => each.key === key && each.value !== value) &&
              (operator === ':=' || (operator === '=' && index > at)),
          )
          return about && near && wins ? [configLineText(one)] : []
        }),
  )
}

function parseUdevRule(rule: string): { key: string; operator: string; value: string }[] {
  const all = rule.matchAll(/([A-Z]+(?:\{[^}]*\})?)\s*(==|!=|\+=|-=|:=|=)\s*"([^"]*)"/g)
  return [...all].map(([, key = '', operator = '', value = '']) => ({ key, operator, value }))
}
