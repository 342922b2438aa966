import { claimsOf } from '../change/journal.ts'
import type { DriverChange, Plan } from '../change/plan.ts'
import { UserError } from '../core/error.ts'
import { coversId } from '../edit/modprobe-conflicts.ts'
import type { IommuState } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import { type RenderedRequirements, renderFiles } from '../system/render-files.ts'
import { renderNix } from '../system/render-nix.ts'
import { type Requirement, requirementsOf } from '../system/requirement.ts'
import type { DeclarativeSystem } from '../system/system.ts'
import type { BindFacts } from './bind-facts.ts'
import { bindingConflicts } from './conflicts.ts'
import { entryListNotes } from './entry-lists.ts'
import { type AddressBinding, decideMechanism, type FunctionBinding, type Mechanism } from './mechanism.ts'
import { type BindRequest, bindRequirements, boundByBoot } from './requirements.ts'

export interface Binding extends Pick<RenderedRequirements, 'tokens' | 'imageRequirements' | 'regenerated'> {
  plan: Plan
  /** The functions that are bound after the boot, and the driver that holds them. */
  bound: FunctionBinding[]
  holder: Mechanism['module']
}

/** Returns the requested devices with every other member of their IOMMU groups, without bridges. */
export function withGroupMates(all: readonly PciDevice[], requested: readonly PciDevice[]): PciDevice[] {
  const groups = new Set(requested.map(({ group }) => group).filter((group) => group !== null))
  return all.filter(
    (device) => !device.bridge && (requested.includes(device) || (device.group !== null && groups.has(device.group))),
  )
}

/**
 * Returns the devices without those that are behind another of them and vanish with its driver: the devices behind an
 * Intel VMD controller come back in the guest that has it. Source: drivers/pci/controller/vmd.c, vmd_remove().
 */
export function withoutNested(selected: readonly PciDevice[]): PciDevice[] {
  return selected.filter((device) => !selected.some((other) => device.path.startsWith(`${other.path}/`)))
}

/** Returns a note for each device that others are behind: it alone is bound, and those go with it. */
export function nestedNotes(selected: readonly PciDevice[]): string[] {
  const bound = withoutNested(selected)
  return bound.flatMap(({ address, path }) => {
    const carried = selected.filter((device) => device.path.startsWith(`${path}/`)).map((device) => device.address)
    const go = carried.length === 1 ? 'is behind it and goes' : 'are behind it and go'
    return carried.length === 0 ? [] : [`${address} alone is bound: ${carried.join(', ')} ${go} with it.`]
  })
}

/** Returns the driver changes that take effect at once, until the next boot. */
export function changesNow(selected: readonly PciDevice[]): DriverChange[] {
  return withoutNested(selected)
    .filter(({ driver }) => driver !== 'vfio-pci')
    .map(({ address, driver }) => ({
      kind: 'driver',
      address,
      before: driver,
      after: 'vfio-pci',
      reason: 'until the next boot',
    }))
}

/**
 * Returns the plan by which vfio-pci has the selected functions from the next boot on. It renders the requirements into
 * the system's own files or, on a described system, into one file of our own, which a person imports. Where the IOMMU
 * is off but can be switched on, the plan does only that: without IOMMU groups nobody knows what would go along.
 * `all`: every function of the host. Throws a UserError with code `iommu-off` or `contradiction`, and those of
 * `decideMechanism`, `renderFiles` (`unknown-system`, with the steps to do by hand) and `renderNix`.
 */
export function planBinding(
  facts: BindFacts,
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
  request: BindRequest,
): Binding {
  const { host, iommu } = facts
  const { declarative } = facts.distro.adapter ?? {}
  const off = expectIommu(iommu)
  const address: AddressBinding = {
    reason: request.address,
    place: declarative === undefined ? facts.initramfs.adapter?.bootScriptLocation() : 'image',
    why: declarative === undefined ? facts.initramfs.why : '',
  }
  const mechanism = off
    ? null
    : decideMechanism(selected, host.kernels, (kernel) => facts.candidateModules(kernel, selected), address)
  const bound = boundByBoot(mechanism)
  // What binds all of it already is not to be corrected.
  if (request.bound === undefined || selected.length > 0) expectNoConflict(facts, mechanism, bound)
  // On a described system the next kernel may be another: that the IOMMU is on now says nothing about it.
  const known = declarative === undefined ? iommu : { ...iommu, enabled: null }
  const requirements = bindRequirements(host, known, mechanism, all, selected, request)
  const foreign = declarative === undefined ? [] : foreignIds(facts, declarative, requirements)
  const copied = foreign.map(({ requirement }) => requirement)
  const nix = declarative && renderNix(facts, declarative, [...requirements, ...copied], request.output)
  const { changes, settings, notes: left, ...rendered } = nix ?? renderFiles(facts, requirements, request.again)
  const notes = [
    ...bindingNotes(iommu, mechanism),
    ...(mechanism === null || declarative !== undefined ? [] : entryListNotes(facts.configured, mechanism.module)),
    ...left,
    ...(requirementsOf(requirements, 'address').length > 0 && declarative !== undefined ? [declarative.earlier] : []),
    ...foreignNotes(foreign, all, selected),
    ...(nix === undefined ? [] : (declarative?.steps(nix.path) ?? [])),
  ]
  const plan = { changes, settings, notes, rebootNeeded: changes.length > 0 }
  return { ...rendered, plan, bound, holder: mechanism?.module ?? 'vfio-pci' }
}

/** An ID that the person's own configuration has in a list, and the requirement that ours holds it too. */
interface ForeignId {
  id: string
  /** The list as the configuration has it. */
  token: string
  requirement: Requirement
}

/** By this an ID in our list is known as a copy, which is kept for as long as one of our devices needs the list. */
const COPIED = { copied: 'configuration' }

/**
 * Returns the IDs that the person has in lists elsewhere in the configuration of a described system: of several lists
 * only the last counts, which is ours, and so ours holds them too.
 */
function foreignIds(
  { host, journal }: BindFacts,
  declarative: DeclarativeSystem,
  requirements: readonly Requirement[],
): ForeignId[] {
  const ids = requirementsOf(requirements, 'id')
  const [first] = ids
  if (first === undefined) return []
  const name = `${first.module.replaceAll('-', '_')}.ids`
  const own = new Set([
    ...ids.map(({ id }) => id),
    ...claimsOf(journal).flatMap(({ setting }) => {
      const isOurs = setting.kind === 'nix-item' && setting.request?.copied === undefined
      return isOurs && setting.item.startsWith(`${first.module}.ids=`) ? setting.item.split('=').slice(1) : []
    }),
  ])
  const owners = [...new Set(ids.flatMap((one) => one.owners))]
  const known = new Set<string>()
  return declarative
    .arguments(host.files)
    .filter((one) => one.name === name)
    .flatMap(({ token, value = '' }) =>
      value.split(',').flatMap((id): ForeignId[] => {
        const key = id.toLowerCase()
        if (id === '' || own.has(key) || known.has(key)) return []
        known.add(key)
        const reason = `your configuration has ${id} in a list of its own`
        return [{ id, token, requirement: { ...first, id, reason, owners, request: COPIED } }]
      }),
    )
}

/** Returns a note on the copied IDs, and one on each device that they take besides the selected ones. */
function foreignNotes(
  foreign: readonly ForeignId[],
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
): string[] {
  const [first] = foreign
  if (first === undefined) return []
  const ids = foreign.map(({ id }) => id).join(' and ')
  const taken = all
    .filter((device) => !selected.includes(device) && !device.bridge)
    .flatMap((device) => {
      const found = foreign.find(({ id }) => coversId(id, `${device.vendor.id}:${device.device.id}`))
      return found === undefined ? [] : [{ device, found }]
    })
  return [
    `Your configuration has a list of its own (${first.token}), and of several lists only the last counts: this module's, which therefore holds ${ids} too.`,
    ...taken.map(
      ({ device, found }) =>
        `That list takes ${device.address} (${device.driver ?? 'no driver'} now) from the host as well: take ${found.id} out of your configuration if the host is to keep it.`,
    ),
  ]
}

/** Is the IOMMU off? Throws a UserError with code `iommu-off` where no kernel argument would switch it on. */
function expectIommu(iommu: IommuState): boolean {
  const off = iommu.enabled === false
  if (off && iommu.code !== 'kernel-parameter')
    throw new UserError('iommu-off', `the IOMMU is off: ${iommu.reason ?? 'nobody knows why'}`)
  return off
}

function bindingNotes(iommu: IommuState, mechanism: Mechanism | null): string[] {
  const notes = [...(mechanism?.notes ?? [])]
  if (mechanism === null)
    notes.push('The IOMMU is off, so there are no groups yet: reboot after this, then bind the devices.')
  if (iommu.kind === 'amd') notes.push('An AMD IOMMU is on by default; amd_iommu=on is no option that Linux knows.')
  return notes
}

/** Throws a UserError with code `contradiction` where settings would undo ours, or do not do what they look like. */
function expectNoConflict(facts: BindFacts, mechanism: Mechanism | null, bound: readonly FunctionBinding[]): void {
  const lines = bindingConflicts(facts, mechanism, bound, facts.iommu.kind)
  if (lines.length === 0) return
  const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''
  throw new UserError('contradiction', `${lines[0]}${more}; correct that first, nothing was written`, lines.slice(1))
}
