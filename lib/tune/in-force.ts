import type { PlannedSetting, Setting } from '../change/settings.ts'
import { type Finding, toFinding } from '../core/finding.ts'
import type { Host } from '../system/system.ts'

// Functions by which features check whether their settings are in force on the running machine.

/** Returns the text of each setting, without doubles: a line, a kernel argument, or an item of a NixOS module. */
export function settingTexts(settings: readonly Setting[]): string[] {
  const texts = settings.map((setting) => {
    if (setting.kind === 'line') return setting.line
    return 'token' in setting ? setting.token : 'item' in setting ? setting.item.trim() : ''
  })
  return [...new Set(texts)]
}

/** Returns the matches of a pattern in the texts of the settings. */
export function matchSettings(settings: readonly Setting[], pattern: RegExp): RegExpExecArray[] {
  return settingTexts(settings)
    .map((text) => pattern.exec(text))
    .filter((found) => found !== null)
}

/** Returns the values of an option in the requests that made these settings, without doubles. */
export function requestedValues(settings: readonly PlannedSetting[], option: string): string[] {
  return [...new Set(settings.flatMap(({ request }) => request?.[option] ?? []))]
}

/** Returns a finding of `--status`. `ok` is `null` where it could not be seen; `next` is the action to take. */
export function inForceFinding(
  code: string,
  ok: boolean | null,
  summary: string,
  evidence: string[] = [],
  next = 'reboot',
): Finding {
  const state = ok === null ? 'unknown' : ok ? 'ok' : 'problem'
  return toFinding({ code }, { state, summary, evidence, next: ok ? null : next })
}

/** Compares module parameters with lines `options MODULE NAME=VALUE …` and kernel arguments `MODULE.NAME=VALUE`. */
export function parameterFindings({ machine }: Host, settings: readonly Setting[]): Finding[] {
  const wanted = [
    ...matchSettings(settings, /^(\w+)\.(\w+=\S+)$/),
    ...matchSettings(settings, /^options (\w+) (.+)$/),
  ].flatMap(([, module, options = '']) => options.split(' ').map((option) => [module, ...option.split('=')]))
  return wanted.flatMap(([module, name, value]) => {
    const path = `/sys/module/${module}/parameters/${name}`
    const now = machine.optionalText(path)?.trim()
    // A module that is not loaded gets the value when it is loaded.
    if (now === undefined) return []
    const same = now === value || { Y: '1', N: '0' }[now] === value
    return inForceFinding('parameter', same, `${path} is ${now}${same ? '' : `, not ${value}`}`)
  })
}

/**
 * Checks that the interfaces which earlier runs requested are there. Interfaces of this kind have the file `attribute`
 * in /sys.
 */
export function interfaceFindings(
  { machine }: Host,
  settings: readonly PlannedSetting[],
  { option, attribute, kind }: { option: string; attribute: string; kind: string },
): Finding[] {
  if (machine.list('/sys/class/net') === undefined) return []
  return requestedValues(settings, option).map((name) => {
    const path = `/sys/class/net/${name}/${attribute}`
    const there = machine.exists(path)
    return inForceFinding('interface', there, `${name} is ${there ? 'there' : `no ${kind} now`}`, there ? [] : [path])
  })
}
