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

/** The facts by which tuning is decided. */
export interface TuneFacts extends SystemFacts {
  devices: readonly PciDevice[]
}

/** A feature that a host can be set up with: a file of lib/tune/features, and a line in the list of features.ts. */
export interface TuneFeature {
  /** The name of the option that requests it, which `--undo` also takes: `hugepages`. */
  name: string
  option: Omit<Option, 'name'>
  /** Options that go with that one; their help says so. */
  with?: readonly Option[]
  /** Features that it does itself, in its own way, when they are requested along with it. */
  takesOver?: readonly string[]
  /** Set where it names what only this machine has (a card, a disk, a guest): an image of many machines has none of it. */
  ofMachine?: true
  /** The names of the checks that may refuse it. */
  guards?: readonly CheckName[]
  /** Decides what the host must have for it. Throws a UserError where the host cannot have that. */
  requirements(facts: TuneFacts, given: Arguments, request: FeatureRequest): FeatureRequirements
  /**
   * Checks whether the running machine has what earlier runs set up, as the kernel shows it: a file or an argument is
   * no proof.
   */
  inForce?(host: Host, settings: readonly PlannedSetting[]): Finding[]
  /** Returns the lines of other files, as `PATH:LINE: TEXT`, that keep a line of ours from being in force. */
  overruled?(files: Reader, setting: SettingOf<'line'>): string[]
}

/** The requirements of one requested feature. */
export interface FeatureRequirements {
  /** The states that the host must have, each with its own reason where that is not the feature's. */
  required: readonly (RequiredState & { reason?: string })[]
  /** The reason that the plan shows; nothing depends on it. */
  reason: string
  notes: readonly string[]
  /** The findings that may refuse the feature. */
  findings: readonly Finding[]
  /** Is it in force only after the next boot? */
  rebootNeeded: boolean
  /** Is this setting, which an earlier run made for the feature, an old value of the same thing? Then it is removed. */
  replaces(setting: PlannedSetting): boolean
}

export interface TuneRequirements extends FeatureRequirements {
  /** The feature's name: `hugepages`. */
  feature: string
  request: FeatureRequest
}

/** The options given for a feature, and their values; later runs and `--status` find them in the journal. */
export type FeatureRequest = Readonly<Record<string, string>>

/**
 * Returns the requirements of a feature; members that are not given are empty. `arguments`: kernel arguments, in the
 * order in which the kernel must see them. `settings`: those that are the same on every system.
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

/** Returns the settings of tokens that a tool keeps in its own way. */
export function externalSettings(tool: ExternalToolName, tokens: readonly string[], reason: string): Setting[] {
  return tokens.map((token) => ({ kind: 'external', tool, path: '', token, reason }))
}

/** Is this system described in files (declarative)? Then it has its own options for network and packages. */
export function isDescribed({ distro }: TuneFacts): boolean {
  return distro.adapter?.declarative !== undefined
}

/** Was the earlier run that made this setting given the same options? */
export function isSameRequest(setting: PlannedSetting, request: FeatureRequest): boolean {
  return JSON.stringify(setting.request) === JSON.stringify(request)
}

/**
 * Throws a UserError, code `contradiction`, where the boot settings give one of the arguments another value already:
 * the kernel would take the last, or both. Our own arguments of this feature do not count: the new value replaces them.
 */
export function expectUnset({ configured, journal }: TuneFacts, feature: string, tokens: readonly string[]): void {
  const required = tokens.flatMap((token) => parseCommandLine(token))
  const own = ownFeatureArguments(journal, feature)
  const [first, ...more] = configured
    .filter(({ name, value, token }) => {
      const same = required.filter((one) => one.name === name)
      return same.length > 0 && !same.some((one) => one.value === value) && !own.has(token)
    })
    .map(({ name, token, file, line }) => {
      const wanted = required.filter((one) => one.name === name && one.value !== '').map((one) => one.token)
      const instead = wanted.length === 0 ? '' : `, and ${wanted.join(' ')} is asked for`
      return `${file}:${line}: ${token} is set already${instead}; take it out first, nothing was written`
    })
  if (first !== undefined) throw new UserError('contradiction', first, more)
}

/** Returns the last argument of this name that the boot settings have and no earlier run of the feature set. */
export function setByHand(
  { configured, journal }: TuneFacts,
  feature: string,
  name: string,
): TuneFacts['configured'][number] | undefined {
  const last = configured.filter((one) => one.name === name).at(-1)
  return last === undefined || ownFeatureArguments(journal, feature).has(last.token) ? undefined : last
}

/** Returns the note on a line that a person wrote and that does the job. */
export function adoptedNote({ file, line, token }: { file: string; line: number; token: string }): string {
  return `${token} is set already: ${file}:${line}.`
}

/** Returns the kernel arguments that earlier runs set for a feature. */
export function ownFeatureArguments(journal: TuneFacts['journal'], feature: string): Set<string> {
  const own = claimsOf(journal).filter(({ owner }) => owner === feature)
  return new Set(
    own.flatMap(({ setting }) => ('token' in setting ? [setting.token] : 'item' in setting ? [setting.item] : [])),
  )
}

/** Throws a UserError, code `unknown-system`, where systemd is not the init system. */
export function expectSystemd(facts: TuneFacts, option: string, instead: string): void {
  if (!isDescribed(facts) && !hasSystemd(facts.host.files))
    throw new UserError('unknown-system', `${option} is a matter of systemd here; ${instead}`)
}

/** Throws a UserError, code `usage`, for an invalid name of a network interface (IFNAMSIZ, dev_valid_name()). */
export function expectInterfaceName(option: string, name: string): void {
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(name) || name === '.' || name === '..')
    throw new UserError(
      'usage',
      `${option} ${name}: not a name for a network interface (15 letters and digits at most)`,
    )
}
