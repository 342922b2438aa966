import { UserError } from '../cli/error.ts'
import type { IommuState } from '../host/iommu.ts'
import { parseCommandLine } from '../host/kernel.ts'
import type { PciDevice } from '../host/pci.ts'
import { addArgument } from '../plan/arguments.ts'
import { findIds, loadedBefore } from '../plan/contradictions.ts'
import { claimsOf, type Recorded } from '../plan/journal.ts'
import { type Directive, moduleName } from '../plan/modprobe.ts'
import type { CommandChange, Plan } from '../plan/plan.ts'
import { changesFor, onceEach } from '../plan/plan.ts'
import { addSetting, hasSetting, type PlannedSetting, type Setting, settingKey } from '../plan/setting.ts'
import type { Bootloader, Choice, Distro, Host, Initramfs, InitramfsNeeds } from '../plan/system.ts'
import { contentReader } from '../plan/undo.ts'
import type { SetArgument } from '../plan/variable.ts'
import { isSet } from '../plan/variable.ts'
import { contradictionsIn } from './contradictions.ts'
import { decideMechanism, type FunctionBinding, type Mechanism } from './mechanism.ts'
import {
  imageSettings,
  loaderSettings,
  modprobeSettings,
  needsOf,
  overrideSettings,
  type Wanted,
  wantedArguments,
} from './wanted.ts'

/** What the decision stands on. */
export interface BindFacts {
  host: Host
  iommu: IommuState
  /** What modprobe reads now. */
  modprobe: readonly Directive[]
  distro: Choice<Distro>
  bootloader: Choice<Bootloader>
  /** The kernel arguments that its files set for the next boot. */
  configured: readonly SetArgument[]
  initramfs: Choice<Initramfs>
  journal: readonly Recorded[]
  /** For each installed kernel, the modules that its tables name for each chosen function. */
  claiming: Parameters<typeof decideMechanism>[2]
}

export interface Binding {
  plan: Plan
  /** What the boot entries must carry afterwards. */
  tokens: string[]
  /** What the images must hold afterwards; `null`: nothing. */
  needs: InitramfsNeeds | null
  /** The functions that vfio-pci has after the boot. */
  bound: FunctionBinding[]
  /** Does the plan make images and boot entries again? */
  made: { images: boolean; entries: boolean }
}

/** Widens what was named to all that must go along: every member of its groups that is no bridge. */
export function withGroupMates(all: readonly PciDevice[], asked: readonly PciDevice[]): PciDevice[] {
  const groups = new Set(asked.map(({ group }) => group).filter((group) => group !== null))
  return all.filter(
    (device) => !device.bridge && (asked.includes(device) || (device.group !== null && groups.has(device.group))),
  )
}

/**
 * The plan that has the chosen functions on vfio-pci from the next boot on. Where the IOMMU is off but can be switched
 * on, the plan does that and nothing else: without groups nobody knows what would go along.
 * Throws a UserError: `iommu-off`, `contradiction`, `unknown-system` (with the steps to do by hand), and those of
 * `decideMechanism`.
 */
export function planBinding(
  facts: BindFacts,
  chosen: readonly PciDevice[],
  request: { passThrough: boolean; address: string | null },
): Binding {
  const { host, iommu } = facts
  const off = expectIommu(iommu)
  const mechanism = off
    ? null
    : decideMechanism(chosen, host.kernels, facts.claiming, {
        wanted: request.address,
        can: facts.initramfs.adapter?.overrides === true,
      })
  const bound = mechanism?.functions.filter(({ how }) => how !== 'start') ?? []
  const wanted = wantedArguments(facts, chosen, bound, mechanism, request.passThrough)
  const modprobe = mechanism?.byModule ? modprobeSettings(facts, mechanism.module, bound) : []
  const override = overrideSettings(facts, bound)
  const needs =
    mechanism === null || modprobe.length + override.length === 0 ? null : needsOf(mechanism.module, modprobe, override)
  expectNoContradiction(facts, mechanism, bound)
  expectKnownSystem(facts, [...modprobe, ...override], needs, wanted)

  const image = imageSettings(facts, needs, bound)
  const loader = loaderSettings(facts, wanted)
  const own = new Set(claimsOf(facts.journal).map(({ key }) => key))
  // What a person set by hand and does the job stays theirs.
  const settings = [...modprobe, ...override, ...image, ...loader].filter(
    (setting) =>
      own.has(settingKey(setting)) ||
      (setting.head !== undefined && isThere(facts, setting)) ||
      !inForce(facts, setting),
  )
  const files = changesFor(settings, contentReader(host.files), addSetting)
  // What a program keeps is no file: it comes along with the command that adds it.
  const added = (some: readonly Setting[]): string[] =>
    settings.flatMap((one) => (one.kind === 'kept' && some.includes(one) && !inForce(facts, one) ? [one.token] : []))
  const commandsOf = (adapter: Bootloader | Initramfs | undefined, some: readonly Setting[]): CommandChange[] => {
    const kept = { add: added(some), remove: [] }
    const changed = files.some((change) => some.some(({ path }) => path === change.path))
    return changed || kept.add.length > 0 ? (adapter?.commands(host, kept) ?? []) : []
  }
  const images = commandsOf(facts.initramfs.adapter, [...modprobe, ...override, ...image])
  const held = facts.bootloader.adapter?.embeds ? [...modprobe, ...override, ...image] : []
  const entries = commandsOf(facts.bootloader.adapter, [...loader, ...held])
  const changes = [...files, ...onceEach([...images, ...entries])]
  return {
    plan: { changes, settings, notes: notesFor(iommu, mechanism), rebootNeeded: changes.length > 0 },
    tokens: wanted.map(({ token }) => token),
    needs,
    bound,
    made: { images: images.length > 0, entries: entries.length > 0 },
  }
}

/** Is the IOMMU off? Throws a UserError with code `iommu-off` where no kernel argument would switch it on. */
export function expectIommu(iommu: IommuState): boolean {
  const off = iommu.enabled === false
  if (off && iommu.code !== 'kernel-parameter')
    throw new UserError('iommu-off', `the IOMMU is off: ${iommu.reason ?? 'nobody knows why'}`)
  return off
}

export function notesFor(iommu: IommuState, mechanism: Mechanism | null): string[] {
  const notes = [...(mechanism?.notes ?? [])]
  if (mechanism === null)
    notes.push('The IOMMU is off, so there are no groups yet: reboot after this, then bind the devices.')
  if (iommu.kind === 'amd') notes.push('An AMD IOMMU is on by default; amd_iommu=on is no option that Linux knows.')
  return notes
}

function isThere({ host }: BindFacts, setting: Setting): boolean {
  return hasSetting(contentReader(host.files)(setting.path), setting)
}

/** Does the system say this already, wherever it does? */
function inForce(facts: BindFacts, setting: Setting): boolean {
  const { host, modprobe, configured } = facts
  if (setting.kind === 'id')
    return findIds(modprobe, setting.module).some(({ ids }) => ids.some((id) => id.toLowerCase() === setting.id))
  if (setting.kind === 'kept' && facts.initramfs.adapter?.kept?.(host).includes(setting.token)) return true
  if (setting.kind === 'argument' || setting.kind === 'kept') return isSet(configured, setting.token)
  if (setting.kind === 'cmdline') return isThere(facts, setting) || isSet(configured, setting.token)
  if (setting.kind !== 'line') return isThere(facts, setting)
  const [, name = '', holder = ''] = /^softdep (\S+) pre: (\S+)/.exec(setting.line) ?? []
  return isThere(facts, setting) || (name !== '' && loadedBefore(modprobe, name).includes(moduleName(holder)))
}

/** Settings of a person's that would undo ours, or that do not do what they look like, stop everything. */
export function expectNoContradiction(
  facts: Pick<BindFacts, 'configured' | 'modprobe' | 'iommu'>,
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
): void {
  const lines = contradictionsIn(facts.configured, facts.modprobe, mechanism, bound, facts.iommu.kind)
  if (lines.length === 0) return
  const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''
  throw new UserError('contradiction', `${lines[0]}${more}; correct that first, nothing was written`, lines.slice(1))
}

/** Where loader, generator or distribution are not known for sure, or are not ours to write, the steps are for the person. */
function expectKnownSystem(
  { host, bootloader, initramfs, distro }: BindFacts,
  modprobe: readonly PlannedSetting[],
  needs: InitramfsNeeds | null,
  wanted: readonly Wanted[],
): void {
  const loads = wanted.length > 0 || (needs !== null && bootloader.adapter?.embeds === true)
  const why = [...(loads ? unknown(host, bootloader) : []), ...(needs !== null ? unknown(host, initramfs) : [])]
  const named = /^--/.test(bootloader.why) && /^--/.test(initramfs.why)
  if (distro.adapter === undefined && !named && wanted.length + modprobe.length > 0) why.push(distro.why)
  if (why.length === 0) return
  // For a person, each list is one argument.
  const line = wanted.reduce((before, { token }) => addArgument(before, token), '')
  const tokens = parseCommandLine(line).map(({ token }) => token)
  const files = changesFor(modprobe, contentReader(host.files), addSetting)
  const anyImage = `Have your initramfs generator put ${needs?.module} and ${[...(needs?.modprobe ?? []), needs?.override ?? []].flat().join(', ')} into every image, load it before the drivers, and make the images again.`
  const anyLoader = `Add to the kernel command line of your boot loader: ${tokens.join(' ')}`
  throw new UserError('unknown-system', `${why.join('; ')}. Nothing was written; by hand:`, [
    ...files.flatMap(({ path, after }) => [`Make ${path} say:`, ...indented(after ?? '')]),
    ...(needs === null ? [] : (initramfs.adapter?.steps(needs, host) ?? [anyImage])),
    ...(loads ? (bootloader.adapter?.steps(tokens, host) ?? [anyLoader]) : []),
  ])
}

function unknown(host: Host, { adapter, why }: Choice<Bootloader | Initramfs>): string[] {
  if (adapter === undefined) return [why]
  return adapter.byHand?.(host) ? [`${adapter.name} (${why}) is set up by hand`] : []
}

function indented(text: string): string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
}
