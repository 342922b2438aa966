import { claimsOf } from '../change/journal.ts'
import type { PlannedSetting, Setting, SettingOf } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import type { CheckName, Finding } from '../core/finding.ts'
import { hasSystemd } from '../host/find-program.ts'
import { parseCommandLine } from '../host/kernel.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import type { ExternalToolName } from '../system/external-tools.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import type { RequiredState } from '../system/requirement.ts'
import type { Host } from '../system/system.ts'
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
  /** The names of the checks that may refuse it. */
  guards?: readonly CheckName[]
  /** Decides what the host must have for it. Throws a UserError for what it cannot have. */
  requirements(facts: TuneFacts, given: Arguments, request: FeatureRequest): FeatureRequirements
  /**
   * Checks whether the running machine has what earlier runs set up, as the kernel shows it: a file or an argument is
   * no proof.
   */
  inForce?(host: Host, settings: readonly PlannedSetting[]): Finding[]
  /** Returns the lines of other files, as `PATH:LINE: TEXT`, that keep a line of ours from being in force. */
  overruled?(files: Reader, setting: SettingOf<'line'>): string[]
}

/** What the host must have for one requested feature. */
export interface FeatureRequirements {
  /** What must be so, each with a reason of its own where that is not the feature's. */
  required: readonly (RequiredState & { reason?: string })[]
  /** The reason that the plan shows. Nothing is decided by it. */
  reason: string
  notes: readonly string[]
  /** Refusals. */
  findings: readonly Finding[]
  /** Is it in force with the next boot only? */
  rebootNeeded: boolean
  /**
   * Is this setting, which an earlier run made for the feature, another value of the same thing? Then it is removed.
   */
  replaces(setting: PlannedSetting): boolean
}

export interface TuneRequirements extends FeatureRequirements {
  /** The feature's name: `hugepages`. */
  feature: string
  request: FeatureRequest
}

/** The options that were given for a feature, and their values: later runs and `--status` find them in the journal. */
export type FeatureRequest = Readonly<Record<string, string>>

/**
 * Returns the requirements of a feature; what is not given is empty. `arguments`: kernel arguments, in the order in which
 * the kernel has to see them. `settings`: what files say, or tools keep, on every system alike.
 */
export function tuneRequirements(
  reason: string,
  {
    arguments: tokens = [],
    settings = [],
    required = [],
    ...some
  }: Partial<FeatureRequirements> & { arguments?: readonly string[]; settings?: readonly Setting[] },
): FeatureRequirements {
  return {
    reason,
    required: [
      ...tokens.map((token) => ({ kind: 'argument' as const, token })),
      ...settings.map((setting) => ({ kind: 'setting' as const, setting, reason: setting.reason })),
      ...required,
    ],
    notes: [],
    findings: [],
    rebootNeeded: tokens.length > 0,
    replaces: () => false,
    ...some,
  }
}

/** Returns settings that a tool keeps in a way of its own. */
export function externalSettings(tool: ExternalToolName, tokens: readonly string[], reason: string): Setting[] {
  return tokens.map((token) => ({ kind: 'external', tool, path: '', token, reason }))
}

/** Is this a system that is described in files? Then it has words of its own for network and packages. */
export function isDescribed({ distro }: TuneFacts): boolean {
  return distro.adapter?.declarative !== undefined
}

/** Was the earlier run that made this setting given the same options? */
export function isSameRequest(setting: PlannedSetting, request: FeatureRequest): boolean {
  return JSON.stringify(setting.request) === JSON.stringify(request)
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
  if (!isDescribed(facts) && !hasSystemd(facts.host.files))
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
