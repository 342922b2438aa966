import { UserError } from '../../core/error.ts'
import { shellQuote } from '../qemu/qemu-words.ts'
import { joinProperties, listSettings, splitProperties, type VmSettings } from './vm-config.ts'
import type { VmSetting, VmTarget } from './vm-target.ts'

/** The names under which the first part of a value may stand. */
const FIRST: Readonly<Record<string, readonly string[]>> = {
  hostpci: ['host'],
  cpu: ['cputype'],
  machine: ['type'],
  vga: ['type'],
  memory: ['current'],
  usb: ['host'],
  virtiofs: ['dirid'],
}

/**
 * Writes the command that gives a VM these settings: `qm create` for a new one, `qm set` with what a present one lacks;
 * '' where it lacks nothing. Proxmox takes all of a command, or nothing of it. Throws a UserError with code `usage`
 * where a list is full. Source: qm(1).
 */
export function qmCommand({ vmid, present }: VmTarget, settings: readonly VmSetting[]): string {
  const changed = changedSettings(present, settings)
  if (changed.size === 0) return ''
  const words = [...changed].map(([name, value]) => `  --${name} ${shellQuote(value)}`)
  return `qm ${present === null ? 'create' : 'set'} ${vmid} \\\n${words.join(' \\\n')}\n`
}

/** Returns the settings that the VM has not yet, with their numbers and whole values. */
function changedSettings(present: VmSettings | null, settings: readonly VmSetting[]): Map<string, string> {
  const now = new Map(present ?? [])
  const changed = new Map<string, string>()
  for (const setting of settings) {
    const found = numberedName(now, setting)
    const before = now.get(found)
    const wanted = present === null || setting.when === 'asked' || (setting.when === 'missing' && before === undefined)
    const value = wholeValue(setting, before)
    if (!wanted || value === before) continue
    now.set(found, value)
    changed.set(found, value)
  }
  return changed
}

/** Returns the name under which the setting stands, or will: of a list, its own number or the first that is free. */
function numberedName(now: VmSettings, { name, list }: VmSetting): string {
  if (list === undefined) return name
  const all = listSettings(now, name)
  const same = all.find(({ value }) => list.isSame?.(value) === true)
  if (same !== undefined) return same.name
  const free = Array.from({ length: list.most }, (_, number) => number).find(
    (number) => !all.some((each) => each.number === number),
  )
  if (free === undefined)
    throw new UserError('usage', `the VM has ${list.most} of ${name} already: no more are possible`)
  return `${name}${free}`
}

function wholeValue({ name, value }: VmSetting, before: string | undefined): string {
  if (typeof value === 'string') return value
  const present = before === undefined ? {} : splitProperties(before, ...(FIRST[name] ?? []))
  const same = Object.entries(value).every(([part, text]) => present[part] === text)
  return before !== undefined && same ? before : joinProperties({ ...present, ...value })
}
