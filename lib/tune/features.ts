import type { Claim } from '../change/journal.ts'
import type { Setting } from '../change/settings.ts'
import { allOrContradictions, UserError } from '../core/error.ts'
import type { CheckName, Finding } from '../core/finding.ts'
import type { Reader } from '../host/reader.ts'
import type { Host } from '../system/system.ts'
import type { Arguments, Option } from '../terminal/options.ts'
import type { FeatureRequest, TuneFacts, TuneFeature, TuneRequirements } from './feature.ts'
import { acsOverride } from './features/acs-override.ts'
import { blacklist } from './features/blacklist.ts'
import { bridge } from './features/bridge.ts'
import { diskAccess } from './features/disk-access.ts'
import { frameMemory } from './features/frame-memory.ts'
import { governor } from './features/governor.ts'
import { hugepages } from './features/hugepages.ts'
import { ignoreMsrs } from './features/ignore-msrs.ts'
import { installPackages } from './features/install-packages.ts'
import { isolate } from './features/isolate.ts'
import { libvirtNetwork } from './features/libvirt-network.ts'
import { libvirtService } from './features/libvirt-service.ts'
import { qemuDevice } from './features/qemu-device.ts'
import { tapDevice } from './features/tap-device.ts'
import { textMode } from './features/text-mode.ts'
import { threadIrqs } from './features/threadirqs.ts'
import { unsafeInterrupts } from './features/unsafe-interrupts.ts'
import { vfioGroup } from './features/vfio-group.ts'
import { virtualFunctions } from './features/virtual-functions.ts'
import { whileRunning } from './features/while-running.ts'

/** All features of tune-host, in the order of `--help` and of a plan. A new one is a file, and a line here. */
const TUNE_FEATURES: readonly TuneFeature[] = [
  hugepages,
  isolate,
  governor,
  whileRunning,
  threadIrqs,
  ignoreMsrs,
  vfioGroup,
  diskAccess,
  tapDevice,
  bridge,
  virtualFunctions,
  installPackages,
  libvirtService,
  libvirtNetwork,
  qemuDevice,
  frameMemory,
  blacklist,
  textMode,
  unsafeInterrupts,
  acsOverride,
]

/** The options of all features. */
export const FEATURE_OPTIONS: readonly Option[] = TUNE_FEATURES.flatMap(({ name, option, with: more = [] }) => [
  { name, ...option },
  ...more.map((one) => ({ ...one, help: `with --${name}: ${one.help}` })),
])

/** The checks by which tune-host refuses. */
export const TUNING_GUARDS: readonly CheckName[] = TUNE_FEATURES.flatMap(({ guards = [] }) => guards)

/** Is a feature requested? Throws a UserError, code `usage`, for an option that goes with another that is not given. */
export function hasFeatureOption(given: Arguments): boolean {
  for (const { name, with: more = [] } of TUNE_FEATURES) {
    const stray = more.find((one) => hasOption(given, one.name))
    if (stray !== undefined && !hasOption(given, name))
      throw new UserError('usage', `--${stray.name} goes with --${name}`)
  }
  return TUNE_FEATURES.some(({ name }) => hasOption(given, name))
}

/**
 * Returns the requirements of all requested features. Throws one UserError for all of what contradicts them; `plan` does
 * what comes next, and may find more of it.
 */
export function requirementsFrom(
  facts: TuneFacts,
  given: Arguments,
  plan: (requirements: TuneRequirements[]) => void,
): TuneRequirements[] {
  return allOrContradictions(
    requestedFeatures(given).map((feature) => () => {
      const request = requestOf(feature, given)
      return { feature: feature.name, request, ...feature.requirements(facts, given, request) }
    }),
    plan,
  )
}

/** Throws a UserError, code `usage`, for a requested feature that an image of many machines cannot have. */
export function expectNoneOfMachine(given: Arguments): void {
  const own = TUNE_FEATURES.find(({ name, ofMachine }) => ofMachine && hasOption(given, name))
  if (own !== undefined)
    throw new UserError(
      'usage',
      `--${own.name} is of this machine alone and no part of an image: without --output, its files in /etc stay through updates`,
    )
}

/** Returns the features that are requested, without those that another one does itself. */
function requestedFeatures(given: Arguments): TuneFeature[] {
  const requested = TUNE_FEATURES.filter(({ name }) => hasOption(given, name))
  const taken = requested.flatMap(({ takesOver = [] }) => takesOver)
  return requested.filter(({ name }) => !taken.includes(name))
}

function requestOf({ name, with: more = [], takesOver = [] }: TuneFeature, given: Arguments): FeatureRequest {
  const names = [name, ...more.map((one) => one.name), ...takesOver].filter((one) => hasOption(given, one))
  return Object.fromEntries(names.map((one) => [one, given.list(one).join(' ')]))
}

function hasOption(given: Arguments, name: string): boolean {
  return given.flag(name) || given.list(name).length > 0
}

/** Checks, feature by feature, whether the settings of earlier runs are in force on the running machine. */
export function inForceFindings(host: Host, claims: readonly Claim[]): Finding[] {
  return TUNE_FEATURES.flatMap(({ name, inForce }) => {
    const settings = claims.flatMap(({ owner, setting }) => (owner === name ? [setting] : []))
    return settings.length > 0 && inForce !== undefined ? inForce(host, settings) : []
  })
}

/** Returns the lines of other files that win over a setting of this feature, which is then not in force. */
export function overruledBy(files: Reader, feature: string | undefined, setting: Setting): string[] {
  const found = TUNE_FEATURES.find(({ name }) => name === feature)
  return setting.kind === 'line' ? [...new Set(found?.overruled?.(files, setting))] : []
}
