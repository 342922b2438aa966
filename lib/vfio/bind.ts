import { UserError } from '../cli/error.ts'
import type { IommuState } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import { hasArgument } from '../plan/arguments.ts'
import { findIds, loadedBefore, softdepFor } from '../plan/contradictions.ts'
import { claimsOf, type Recorded } from '../plan/journal.ts'
import { type Directive, moduleName } from '../plan/modprobe.ts'
import type { CommandChange, Plan } from '../plan/plan.ts'
import { changesFor } from '../plan/plan.ts'
import { addSetting, hasSetting, ownHead, type PlannedSetting, type Setting, settingKey } from '../plan/setting.ts'
import type { Bootloader, Choice, Distro, Host, Initramfs, InitramfsNeeds } from '../plan/system.ts'
import { contentReader } from '../plan/undo.ts'
import { contradictionsIn, OURS } from './contradictions.ts'
import { decideMechanism, type FunctionBinding, iommuArguments, type Mechanism } from './mechanism.ts'

const MODPROBE = `/etc/modprobe.d/${OURS}`

/** What the decision stands on. */
export interface BindFacts {
  host: Host
  iommu: IommuState
  /** What modprobe reads now. */
  modprobe: readonly Directive[]
  distro: Choice<Distro>
  bootloader: Choice<Bootloader>
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
export function planBinding(facts: BindFacts, chosen: readonly PciDevice[], passThrough: boolean): Binding {
  const { host, iommu } = facts
  const off = iommu.enabled === false
  if (off && iommu.code !== 'kernel-parameter')
    throw new UserError('iommu-off', `the IOMMU is off: ${iommu.reason ?? 'nobody knows why'}`)
  const mechanism = off ? null : decideMechanism(chosen, host.kernels, facts.claiming)
  const bound = mechanism?.functions.filter(({ how }) => how === 'id') ?? []
  const wanted = wantedArguments(facts, chosen, bound, mechanism, passThrough)
  const modprobe = mechanism?.byModule ? modprobeSettings(facts, mechanism.module, bound) : []
  const needs = mechanism === null || modprobe.length === 0 ? null : needsOf(mechanism.module, modprobe)
  expectNoContradiction(facts, mechanism, bound)
  expectKnownSystem(facts, modprobe, needs, wanted)

  const image = imageSettings(facts, needs, bound)
  const loader = loaderSettings(facts, wanted)
  const own = new Set(claimsOf(facts.journal).map(({ key }) => key))
  // What a person set by hand and does the job stays theirs.
  const settings = [...modprobe, ...image, ...loader].filter(
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
  const images = commandsOf(facts.initramfs.adapter, [...modprobe, ...image])
  const entries = commandsOf(facts.bootloader.adapter, loader)
  const changes = [...files, ...images, ...entries]
  return {
    plan: { changes, settings, notes: notesFor(iommu, mechanism), rebootNeeded: changes.length > 0 },
    tokens: wanted.map(({ token }) => token),
    needs,
    bound,
    made: { images: images.length > 0, entries: entries.length > 0 },
  }
}

function notesFor(iommu: IommuState, mechanism: Mechanism | null): string[] {
  const notes = [...(mechanism?.notes ?? [])]
  if (mechanism === null)
    notes.push('The IOMMU is off, so there are no groups yet: reboot after this, then bind the devices.')
  if (iommu.kind === 'amd') notes.push('An AMD IOMMU is on by default; amd_iommu=on is no option that Linux knows.')
  return notes
}

interface Wanted {
  token: string
  reason: string
  devices: string[]
}

function wantedArguments(
  { host, iommu }: BindFacts,
  chosen: readonly PciDevice[],
  bound: readonly FunctionBinding[],
  mechanism: Mechanism | null,
  passThrough: boolean,
): Wanted[] {
  if (mechanism !== null && bound.length === 0) return []
  const all = bound.length > 0 ? bound.map(({ device }) => device.address) : ['host']
  const tokens = iommuArguments(iommu, host.kernels, chosen, passThrough).map((one) => ({ ...one, devices: all }))
  if (!mechanism?.byArgument) return tokens
  const { module } = mechanism
  const reason = `${module} is built into the kernel, which takes IDs from its command line alone`
  return [...tokens, ...byId(bound).map(({ id, devices }) => ({ token: `${module}.ids=${id}`, reason, devices }))]
}

/** Each ID once, with the addresses that have it. */
function byId(bound: readonly FunctionBinding[]): { id: string; devices: string[] }[] {
  const ids = [...new Set(bound.map(({ id }) => id))]
  return ids.map((id) => ({ id, devices: bound.filter((one) => one.id === id).map(({ device }) => device.address) }))
}

/** `options` with the IDs, and a softdep for every module that could come first. */
function modprobeSettings(
  { host, modprobe }: BindFacts,
  module: string,
  bound: readonly FunctionBinding[],
): PlannedSetting[] {
  const own = { path: host.files.resolve(MODPROBE) ?? MODPROBE, head: ownHead() }
  // A second list would replace the first: where somebody has one already, ours goes into it.
  const theirs = findIds(modprobe, module)
    .filter(({ file }) => file !== own.path)
    .at(-1)
  const place = theirs === undefined ? own : { path: host.files.resolve(theirs.file) ?? theirs.file }
  const names = [...new Set(bound.flatMap(({ modules }) => modules))].sort()
  const others = modprobe.filter(({ file }) => file !== own.path)
  const ids = byId(bound)
  const before = names.length > 0 ? ` before ${names.join(', ')}` : ''
  const reason = `${module} takes ${ids.map(({ id }) => id).join(' and ')}${before}`
  return [
    ...ids.map(({ id, devices }): PlannedSetting => ({ kind: 'id', ...place, module, id, devices, reason })),
    ...names.map((name): PlannedSetting => {
      const devices = bound.filter(({ modules }) => modules.includes(name)).map(({ device }) => device.address)
      return { kind: 'line', ...own, line: softdepFor(others, name, module), devices, reason }
    }),
  ]
}

function needsOf(module: string, modprobe: readonly Setting[]): InitramfsNeeds {
  return { module, modprobe: [...new Set(modprobe.map(({ path }) => path))] }
}

function imageSettings(
  { host, initramfs }: BindFacts,
  needs: InitramfsNeeds | null,
  bound: readonly FunctionBinding[],
): PlannedSetting[] {
  const devices = bound.map(({ device }) => device.address)
  const settings = needs === null ? [] : (initramfs.adapter?.settings(host, needs) ?? [])
  return settings.map((setting) => ({ ...setting, devices }))
}

function loaderSettings({ host, bootloader }: BindFacts, wanted: readonly Wanted[]): PlannedSetting[] {
  return wanted.flatMap(({ devices, ...one }) =>
    (bootloader.adapter?.settings(host, [one]) ?? []).map((setting) => ({ ...setting, devices })),
  )
}

function isThere({ host }: BindFacts, setting: Setting): boolean {
  return hasSetting(contentReader(host.files)(setting.path), setting)
}

/** Does the system say this already, wherever it does? */
function inForce(facts: BindFacts, setting: Setting): boolean {
  const { host, modprobe, bootloader } = facts
  if (setting.kind === 'id')
    return findIds(modprobe, setting.module).some(({ ids }) => ids.some((id) => id.toLowerCase() === setting.id))
  if (setting.kind === 'kept' && facts.initramfs.adapter?.kept?.(host).includes(setting.token)) return true
  if (setting.kind === 'argument' || setting.kind === 'kept') {
    const configured = bootloader.adapter?.configured(host) ?? []
    return hasArgument(configured.map(({ token }) => token).join(' '), setting.token)
  }
  if (setting.kind !== 'line') return isThere(facts, setting)
  const [, name = '', holder = ''] = /^softdep (\S+) pre: (\S+)/.exec(setting.line) ?? []
  return isThere(facts, setting) || (name !== '' && loadedBefore(modprobe, name).includes(moduleName(holder)))
}

/** Settings of a person's that would undo ours, or that do not do what they look like, stop everything. */
function expectNoContradiction(facts: BindFacts, mechanism: Mechanism | null, bound: readonly FunctionBinding[]): void {
  const configured = facts.bootloader.adapter?.configured(facts.host) ?? []
  const lines = contradictionsIn(configured, facts.modprobe, mechanism, bound)
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
  const why = [...(wanted.length > 0 ? unknown(bootloader) : []), ...(needs !== null ? unknown(initramfs) : [])]
  const named = /^--/.test(bootloader.why) && /^--/.test(initramfs.why)
  if (distro.adapter === undefined && !named && wanted.length + modprobe.length > 0) why.push(distro.why)
  if (why.length === 0) return
  const tokens = wanted.map(({ token }) => token)
  const files = changesFor(modprobe, contentReader(host.files), addSetting)
  const anyImage = `Have your initramfs generator put ${needs?.module} and ${needs?.modprobe.join(', ')} into every image, load it before the drivers, and make the images again.`
  const anyLoader = `Add to the kernel command line of your boot loader: ${tokens.join(' ')}`
  throw new UserError('unknown-system', `${why.join('; ')}. Nothing was written; by hand:`, [
    ...files.flatMap(({ path, after }) => [`Make ${path} say:`, ...indented(after ?? '')]),
    ...(needs === null ? [] : (initramfs.adapter?.steps(needs, host) ?? [anyImage])),
    ...(tokens.length === 0 ? [] : (bootloader.adapter?.steps(tokens, host) ?? [anyLoader])),
  ])
}

function unknown({ adapter, why }: Choice<Bootloader | Initramfs>): string[] {
  if (adapter === undefined) return [why]
  return adapter.byHand ? [`${adapter.name} (${why}) is set up by hand`] : []
}

function indented(text: string): string[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `    ${line}`)
}
