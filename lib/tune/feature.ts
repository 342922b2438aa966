import { claimsOf } from '../change/journal.ts'
import { headComment, type PlannedSetting, type Setting, type SettingOf } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import type { NixItem } from '../edit/nix.ts'
import { hasSystemd } from '../host/find-program.ts'
import { parseCommandLine } from '../host/kernel.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import type { ExternalToolName } from '../system/external-tools.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import type { DeclarativeHost, Host } from '../system/system.ts'
import type { Arguments, Option } from '../terminal/options.ts'

/** The facts that tuning is decided on. */
export interface TuneFacts extends SystemFacts {
  devices: readonly PciDevice[]
}

/** One thing that a host can be set up with: a file of lib/tune/features, and a line in the list of features.ts. */
export interface TuneFeature {
  /** The option that asks for it, and what `--undo` takes: `hugepages`. */
  name: string
  option: Omit<Option, 'name'>
  /** Options that go with that one; their help says so. */
  with?: readonly Option[]
  /** Decides what the host must have for it. Throws a UserError for what it cannot have. */
  requirements(facts: TuneFacts, given: Arguments): TuneRequirements
  /**
   * Checks whether the running machine has what earlier runs set up, as the kernel shows it: a file or an argument is
   * no proof.
   */
  inForce?(host: Host, settings: readonly PlannedSetting[]): Finding[]
  /** Returns the lines of other files, as `PATH:LINE: TEXT`, that keep a line of ours from being in force. */
  overruled?(files: Reader, setting: SettingOf<'line'>): string[]
}

/** What the host must have for one requested feature. */
export interface TuneRequirements {
  /** The feature's name: `hugepages`. */
  feature: string
  /** Kernel arguments, in the order in which the kernel has to see them. */
  arguments: readonly string[]
  /** Files that are effective as they stand. */
  files: readonly Setting[]
  /** Options of a declarative system, where they are something else than a line of a file. */
  items: readonly NixItem[]
  /** The reason that the plan shows. Nothing is decided by it. */
  reason: string
  /** The request, where the settings do not tell it: later runs and `--status` find it in the journal. */
  request?: Readonly<Record<string, string>>
  notes: readonly string[]
  /** Refusals. */
  findings: readonly Finding[]
  /** Is it in force with the next boot only? */
  rebootNeeded: boolean
  /**
   * Is this setting, which an earlier run made for the feature, another value of the same thing? Then it is removed.
   */
  replaces(setting: Setting): boolean
}

/** Returns the requirements of a feature; what is not given is empty. */
export function tuneRequirements(feature: string, reason: string, some: Partial<TuneRequirements>): TuneRequirements {
  const rebootNeeded = (some.arguments ?? []).length > 0
  const replaces = (): boolean => false
  return {
    feature,
    reason,
    arguments: [],
    files: [],
    items: [],
    notes: [],
    findings: [],
    rebootNeeded,
    replaces,
    ...some,
  }
}

/** Returns the setting of a line in a file of our own. */
export function ownLine(path: string, line: string, reason: string, section = ''): Setting {
  return { kind: 'line', path, head: headComment('tune-host') + section, line, reason }
}

/** Returns settings that a tool keeps in a way of its own. */
export function externalSettings(tool: ExternalToolName, tokens: readonly string[], reason: string): Setting[] {
  return tokens.map((token) => ({ kind: 'external', tool, path: '', token, reason }))
}

/** Returns how a declarative system writes things; `undefined` where this system is not declarative. */
export function describedHost({ distro }: TuneFacts): DeclarativeHost | undefined {
  return distro.adapter?.declarative?.host
}

/**
 * Throws a UserError, code `contradiction`, where the boot settings give one of the arguments another value already:
 * the kernel would take the last, or both. What is ours, of this feature, goes for the new value.
 */
export function expectUnset({ configured, journal }: TuneFacts, feature: string, tokens: readonly string[]): void {
  const required = tokens.flatMap((token) => parseCommandLine(token))
  const own = ownFeatureArguments(journal, feature)
  for (const { name, value, token, file, line } of configured) {
    if (!required.some((one) => one.name === name) || required.some((one) => one.name === name && one.value === value))
      continue
    if (own.has(token)) continue
    throw new UserError(
      'contradiction',
      `${file}:${line}: ${token} is set already; take it out first, nothing was written`,
    )
  }
}

/** Returns the kernel arguments that earlier runs set for a feature. */
export function ownFeatureArguments(journal: TuneFacts['journal'], feature: string): Set<string> {
  const own = claimsOf(journal).filter(({ owner }) => owner === feature)
  return new Set(
    own.flatMap(({ setting }) => ('token' in setting ? [setting.token] : 'item' in setting ? [setting.item] : [])),
  )
}

/** Throws a UserError, code `unknown-system`, where systemd does not start this system. */
export function expectSystemd(facts: TuneFacts, option: string, instead: string): void {
  if (describedHost(facts) === undefined && !hasSystemd(facts.host.files))
    throw new UserError('unknown-system', `${option} is a matter of systemd here; ${instead}`)
}

/**
 * Throws a UserError with code `usage` for what cannot be the name of a network interface (IFNAMSIZ, dev_valid_name()).
 */
export function expectInterfaceName(option: string, name: string): void {
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(name) || name === '.' || name === '..')
    throw new UserError(
      'usage',
      `${option} ${name}: not a name for a network interface (15 letters and digits at most)`,
    )
}
