import lt from 'semver/functions/lt.js'
import { claimsOf } from '../change/journal.ts'
import type { PlannedSetting } from '../change/settings.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import { bootScriptFunction } from '../system/boot-script.ts'
import { locateNixModule, nixModuleChanges } from '../system/nix-module.ts'
import type { DeclarativeRequirement, DeclarativeSystem } from '../system/system.ts'
import type { BindFacts } from './bind-facts.ts'
import { decideMechanism, type FunctionBinding, iommuArguments, type Mechanism } from './mechanism.ts'
import { type Binding, bindingNotes, expectIommu, expectNoConflict } from './plan-binding.ts'
import { devicesById } from './requirements.ts'

export interface DescribedRequest {
  passThrough: boolean
  address: string | null
  /** The file to write; `null`: only shown, as the one that is there already or a usual place. */
  output: string | null
  /** Packages for the guests' file sharing: virtiofsd. */
  packages: readonly string[]
  /** os-release's VERSION_ID. */
  version: string
}

interface BindRequirement extends DeclarativeRequirement {
  reason: string
  devices: string[]
}

/**
 * As `planBinding`, on a system that is described and not edited: the plan is one file of our own, which a person
 * imports. Throws the UserErrors of `modulePlace`, `moduleChanges` and `planBinding`.
 */
export function planDescribedBinding(
  facts: BindFacts,
  declarative: DeclarativeSystem,
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
  request: DescribedRequest,
): Binding & { path: string } {
  const { host, iommu } = facts
  const off = expectIommu(iommu)
  const byAddress = { reason: request.address, place: 'image', why: '' } as const
  const mechanism = off ? null : decideMechanism(selected, host.kernels, facts.candidateModules, byAddress)
  const bound = mechanism?.functions.filter(({ boundBy }) => boundBy !== 'start') ?? []
  expectNoConflict(facts, mechanism, bound)
  const { path, head } = locateNixModule(host.files, facts.journal, {
    asked: request.output,
    usual: declarative.path,
    head: declarative.head(request.version),
  })
  const requirements = [
    ...argumentRequirements(facts, selected, mechanism, bound, request),
    ...(mechanism === null ? [] : moduleRequirements(facts, mechanism, bound, all)),
    ...(bound.length === 0 ? [] : packageRequirements(request.packages, bound)),
  ]
  const settings = requirements.map(({ kind, text, reason, devices }): PlannedSetting => {
    return { kind: 'nix-item', path, head, ...declarative.item({ kind, text }), reason, owners: devices }
  })
  const changes = nixModuleChanges(host.files, settings)
  const tokens = requirements.filter(({ kind }) => kind === 'argument').map(({ text }) => text)
  const address = bound.some(({ boundBy }) => boundBy === 'address')
  const own = address ? [declarative.earlier] : foreignIds(facts, declarative, tokens)
  const notes = [...bindingNotes(iommu, mechanism), ...own, ...declarative.steps(path)]
  return {
    plan: { changes, settings, notes, rebootNeeded: changes.length > 0 },
    tokens,
    imageRequirements: null,
    bound,
    regenerated: { images: false, entries: false },
    path,
  }
}

function argumentRequirements(
  { host, iommu }: BindFacts,
  selected: readonly PciDevice[],
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
  { passThrough }: DescribedRequest,
): BindRequirement[] {
  if (mechanism !== null && bound.length === 0) return []
  const devices = bound.length > 0 ? bound.map(({ device }) => device.address) : ['host']
  // What the present kernel does by itself says nothing of the next one that nixos-rebuild brings.
  const known = { ...iommu, enabled: null }
  const switches = iommuArguments(host, known, selected, passThrough)
  return [
    ...switches.map(({ token, reason }): BindRequirement => ({ kind: 'argument', text: token, reason, devices })),
    ...devicesById(bound.filter(({ boundBy }) => boundBy === 'id')).map(({ id, owners: own }): BindRequirement => {
      const module = mechanism?.module ?? 'vfio-pci'
      return { kind: 'argument', text: `${module}.ids=${id}`, reason: `${module} takes ${id}`, devices: own }
    }),
  ]
}

function moduleRequirements(
  { host }: BindFacts,
  { module }: Mechanism,
  bound: readonly FunctionBinding[],
  all: readonly PciDevice[],
): BindRequirement[] {
  const devices = bound.map(({ device }) => device.address)
  if (devices.length === 0) return []
  const early = module === 'vfio-pci' ? ['vfio_pci', 'vfio', 'vfio_iommu_type1', 'vfio_virqfd'] : ['pci_stub']
  const ids = bound.filter(({ boundBy }) => boundBy === 'id')
  const names = [...new Set(ids.flatMap(({ modules }) => modules))].sort()
  const users = (name: string): string[] =>
    bound.filter(({ modules }) => modules.includes(name)).map(({ device }) => device.address)
  return [
    ...early
      .filter((name) => isLoadable(host.kernels, name))
      .map(
        (text): BindRequirement => ({ kind: 'early', text, reason: `${module} is loaded in the initramfs`, devices }),
      ),
    ...overrideRequirements(bound.filter(({ boundBy }) => boundBy === 'address')),
    ...names.map((name): BindRequirement => {
      const text = `softdep ${name} pre: ${module}`
      return { kind: 'modprobe', text, reason: `${module} comes before ${name}`, devices: users(name) }
    }),
    ...names
      .filter((name) => isOnlyFor(name, bound, all))
      .map(
        (text): BindRequirement => ({
          kind: 'blacklist',
          text,
          reason: `no other device needs ${text}`,
          devices: users(text),
        }),
      ),
  ]
}

function overrideRequirements(bound: readonly FunctionBinding[]): BindRequirement[] {
  const devices = bound.map(({ device }) => device.address)
  const reason = 'gives these addresses to vfio-pci, if they are what they were'
  const script: BindRequirement[] = bound.length === 0 ? [] : [{ kind: 'override', text: '', reason, devices }]
  return [
    ...bound.map(({ device }): BindRequirement => {
      return { kind: 'function', text: bootScriptFunction(device), reason, devices: [device.address] }
    }),
    ...script,
  ]
}

/** As a module of one of the kernels; vfio_virqfd is a part of vfio since Linux 6.2. */
function isLoadable(kernels: readonly Kernel[], name: string): boolean {
  return kernels.some((kernel) => {
    const how = kernel.provides(name)
    if (how !== null) return how === 'module'
    return name !== 'vfio_virqfd' || (kernel.version !== null && lt(kernel.version, '6.2.0'))
  })
}

/** Is the driver of a graphics card one that no device of the host has or could have? */
function isOnlyFor(name: string, bound: readonly FunctionBinding[], all: readonly PciDevice[]): boolean {
  const users = bound.filter(({ modules }) => modules.includes(name)).map(({ device }) => device)
  const others = all.filter((device) => !users.includes(device))
  return (
    users.every(isDisplay) &&
    others.every(({ driver, modules }) => modules !== null && driver !== name && !modules.includes(name))
  )
}

function packageRequirements(packages: readonly string[], bound: readonly FunctionBinding[]): BindRequirement[] {
  const devices = bound.map(({ device }) => device.address)
  return packages.map(
    (text): BindRequirement => ({ kind: 'package', text, reason: 'shares folders with guests', devices }),
  )
}

/** Somebody's own list of IDs elsewhere in the configuration: only the last one counts. */
function foreignIds({ host, journal }: BindFacts, declarative: DeclarativeSystem, tokens: readonly string[]): string[] {
  const ours = new Set([
    ...tokens,
    ...claimsOf(journal).flatMap(({ setting }) => (setting.kind === 'nix-item' ? [setting.item] : [])),
  ])
  return declarative
    .arguments(host.files)
    .filter(({ name, value }) => /^(vfio_pci|pci_stub)\.ids$/.test(name) && !isOwnIdList(value, ours))
    .map(
      ({ token }) =>
        `Your configuration sets ${token} already, and of several such lists only the last counts: leave it to this module.`,
    )
}

function isOwnIdList(value: string | undefined, tokens: ReadonlySet<string>): boolean {
  return (value ?? '').split(',').every((id) => [...tokens].some((token) => token.endsWith(`.ids=${id}`)))
}
