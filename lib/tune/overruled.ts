import type { Setting, SettingOf } from '../change/settings.ts'
import { modprobeFiles, parseModprobe } from '../edit/modprobe.ts'
import {
  type ConfigLine,
  configLines,
  dropInFolders,
  matchesGlob,
  readBootWrites,
  readDropIns,
} from '../host/drop-ins.ts'
import { hasSystemd } from '../host/find-program.ts'
import { type Account, readLoginMemlock } from '../host/memlock.ts'
import type { Reader } from '../host/reader.ts'
import { readGroupMembers } from '../host/user.ts'

// Lines of other files that win over ours, or are added to it: then ours is in its file, and not in force.

const UNIT_PLACES = [
  '/etc/systemd/system.control',
  '/run/systemd/system.control',
  '/run/systemd/transient',
  ...['/etc', '/run', '/usr/local/lib', '/usr/lib', '/lib'].map((folder) => `${folder}/systemd/system`),
]

/** The lines, as `PATH:LINE: TEXT`, that keep a setting of tune-host's from what it says. */
export function overruledBy(files: Reader, setting: Setting): string[] {
  if (setting.kind !== 'line') return []
  const { path } = setting
  const found = /\/sysctl\.d\//.test(path)
    ? overrulingSysctls(files, setting)
    : /\/security\/limits\.d\//.test(path)
      ? overrulingMemlock(files, setting)
      : /\/modprobe\.d\//.test(path)
        ? overrulingOptions(files, setting)
        : /\/udev\/rules\.d\//.test(path)
          ? overrulingRules(files, setting)
          : overrulingSlices(files, setting)
  return [...new Set(found)]
}

const configLineText = ({ path, line, text }: ConfigLine): string => `${path}:${line}: ${text}`

/** Source: sysctl.d(5): of several lines for one variable the last is in force. */
function overrulingSysctls(files: Reader, { path, line }: SettingOf<'line'>): string[] {
  const name = /^[^=\s]+/.exec(line)?.[0] ?? ''
  const target = `/proc/sys/${name.replaceAll('.', '/')}`
  const last = readBootWrites(files, hasSystemd(files))
    .filter((one) => matchesGlob(one.target, target))
    .at(-1)
  return last === undefined || last.path === path ? [] : [configLineText(last)]
}

/** Source: limits.conf(5): a line for a user goes before one for a group; of two for one group the last counts. */
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

/** Source: modprobe.d(5): options of several lines follow each other, and of equal ones the kernel takes the last. */
function overrulingOptions(files: Reader, { path, line }: SettingOf<'line'>): string[] {
  const [, module = '', ...words] = line.split(/\s+/)
  const all = parseModprobe(modprobeFiles(files)).filter((one) => one.command === 'options' && one.module === module)
  const ours = all.findIndex(({ file }) => file === path)
  const names = words.map((word) => word.replace(/=.*/, '='))
  const later = all
    .slice(ours + 1)
    .filter(({ file, rest }) => file !== path && rest.split(/\s+/).some((one) => isOtherValue(one, names, words)))
    .map((one) => `${one.file}:${one.line}: options ${module} ${one.rest}`)
  const writes = readBootWrites(files, hasSystemd(files)).filter(({ target, value }) =>
    words.some((word) => {
      const [name = '', own] = word.split('=')
      return matchesGlob(target, `/sys/module/${module}/parameters/${name}`) && value !== own
    }),
  )
  return [...later, ...writes.map(configLineText)]
}

function isOtherValue(word: string, names: readonly string[], words: readonly string[]): boolean {
  return names.some((name) => word.startsWith(name)) && !words.includes(word)
}

/** Source: udev(7): the last assignment counts, unless an earlier one is final (`:=`). */
function overrulingRules(files: Reader, { path, line }: SettingOf<'line'>): string[] {
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
              key === 'SUBSYSTEM' && operator === '==' && value.split('|').some((each) => matchesGlob(each, subsystem)),
          )
          // Of a disk, a rule that names it, or is for all of them.
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

/** Source: systemd.resource-control(5): CPUs of several lines are added up, and an empty line forgets those before it. */
function overrulingSlices(files: Reader, { path, line }: SettingOf<'line'>): string[] {
  const [, unit = '', type = ''] = /\/systemd\/system\/([\w-]+\.(slice|scope))\.d\/[^/]+$/.exec(path) ?? []
  const key = /^AllowedCPUs=/.exec(line)?.[0]
  if (unit === '' || key === undefined) return []
  // The first place has the last word of two that are equal in name; a folder for the unit goes before one for its type.
  const places = [unit, type].flatMap((name) => UNIT_PLACES.map((folder) => `${folder}/${name}.d`))
  const all = configLines(readDropIns(files, places)).filter(({ text }) => text.startsWith(key))
  const ours = all.findIndex((one) => one.path === path)
  return all
    .filter((one, index) => one.path !== path && (one.text !== key || index > ours) && one.text !== line)
    .map(configLineText)
}
