import { claimsOf } from '../change/journal.ts'
import type { DriverChange, Plan } from '../change/plan.ts'
import { UserError } from '../core/error.ts'
import type { IommuState } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import { type RenderedRequirements, renderFiles } from '../system/render-files.ts'
import { renderNix } from '../system/render-nix.ts'
import { type Requirement, requirementsOf } from '../system/requirement.ts'
import type { DeclarativeSystem } from '../system/system.ts'
import type { BindFacts } from './bind-facts.ts'
import { bindingConflicts } from './conflicts.ts'
import { type AddressBinding, decideMechanism, type FunctionBinding, type Mechanism } from './mechanism.ts'
import { type BindRequest, bindRequirements, boundByBoot } from './requirements.ts'

export interface Binding extends Pick<RenderedRequirements, 'tokens' | 'imageRequirements' | 'regenerated'> {
  plan: Plan
  /** The functions that vfio-pci holds after the boot. */
  bound: FunctionBinding[]
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
  const mechanism = off ? null : decideMechanism(selected, host.kernels, facts.candidateModules, address)
  const bound = boundByBoot(mechanism)
  expectNoConflict(facts, mechanism, bound)
  // On a described system the next kernel may be another: that the IOMMU is on now says nothing about it.
  const known = declarative === undefined ? iommu : { ...iommu, enabled: null }
  const requirements = bindRequirements(host, known, mechanism, all, selected, request)
  const nix = declarative && renderNix(facts, declarative, requirements, request.output)
  const { changes, settings, notes: left, ...rendered } = nix ?? renderFiles(facts, requirements, request.staleImages)
  const notes = [
    ...bindingNotes(iommu, mechanism),
    ...left,
    ...(declarative === undefined ? [] : moduleNotes(facts, declarative, requirements)),
    ...(nix === undefined ? [] : (declarative?.steps(nix.path) ?? [])),
  ]
  return { ...rendered, plan: { changes, settings, notes, rebootNeeded: changes.length > 0 }, bound }
}

/** Returns notes on what a described system loads before the boot script, or sets in place of our list of IDs. */
function moduleNotes(
  { host, journal }: BindFacts,
  declarative: DeclarativeSystem,
  requirements: readonly Requirement[],
): string[] {
  if (requirementsOf(requirements, 'address').length > 0) return [declarative.earlier]
  // The person may have a list of IDs elsewhere in the configuration: only the last one counts.
  const own = new Set([
    ...requirementsOf(requirements, 'id').map(({ module, id }) => `${module}.ids=${id}`),
    ...claimsOf(journal).flatMap(({ setting }) => (setting.kind === 'nix-item' ? [setting.item] : [])),
  ])
  const isOwnList = (value = ''): boolean =>
    value.split(',').every((id) => own.has(`vfio-pci.ids=${id}`) || own.has(`pci-stub.ids=${id}`))
  return declarative
    .arguments(host.files)
    .filter(({ name, value }) => /^(vfio_pci|pci_stub)\.ids$/.test(name) && !isOwnList(value))
    .map(
      ({ token }) =>
        `Your configuration sets ${token} already, and of several such lists only the last counts: leave it to this module.`,
    )
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
function expectNoConflict(
  facts: Pick<BindFacts, 'configured' | 'modprobe' | 'iommu'>,
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
): void {
  const lines = bindingConflicts(facts.configured, facts.modprobe, mechanism, bound, facts.iommu.kind)
  if (lines.length === 0) return
  const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''
  throw new UserError('contradiction', `${lines[0]}${more}; correct that first, nothing was written`, lines.slice(1))
}
