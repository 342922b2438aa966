import type { DriverChange, Plan } from '../change/plan.ts'
import { UserError } from '../core/error.ts'
import type { IommuState } from '../host/iommu.ts'
import type { PciDevice } from '../host/pci.ts'
import { expectKnownSystem, planSettings } from '../system/plan-settings.ts'
import type { InitramfsRequirements } from '../system/system.ts'
import type { BindFacts } from './bind-facts.ts'
import { bindingConflicts } from './conflicts.ts'
import { decideMechanism, type FunctionBinding, type Mechanism } from './mechanism.ts'
import {
  bootScriptSettings,
  imageSettings,
  loaderSettings,
  modprobeSettings,
  planImageRequirements,
  requiredArguments,
} from './requirements.ts'

export interface Binding {
  plan: Plan
  /** What the boot entries must carry afterwards. */
  tokens: string[]
  /** What the images must hold afterwards; `null`: nothing. */
  imageRequirements: InitramfsRequirements | null
  /** The functions that vfio-pci has after the boot. */
  bound: FunctionBinding[]
  /** Does the plan make images and boot entries again? */
  regenerated: { images: boolean; entries: boolean }
}

/** Widens what was named to all that must go along: every member of its groups that is no bridge. */
export function withGroupMates(all: readonly PciDevice[], requested: readonly PciDevice[]): PciDevice[] {
  const groups = new Set(requested.map(({ group }) => group).filter((group) => group !== null))
  return all.filter(
    (device) => !device.bridge && (requested.includes(device) || (device.group !== null && groups.has(device.group))),
  )
}

/**
 * Less those that are behind another of them and vanish with its driver: what Intel VMD's controller carries comes back
 * in the guest that has the controller. Source: drivers/pci/controller/vmd.c, vmd_remove().
 */
export function withoutNested(selected: readonly PciDevice[]): PciDevice[] {
  return selected.filter((device) => !selected.some((other) => device.path.startsWith(`${other.path}/`)))
}

/** What a person has to know of those. */
export function nestedNotes(selected: readonly PciDevice[]): string[] {
  const bound = withoutNested(selected)
  return bound.flatMap(({ address, path }) => {
    const carried = selected.filter((device) => device.path.startsWith(`${path}/`)).map((device) => device.address)
    const go = carried.length === 1 ? 'is behind it and goes' : 'are behind it and go'
    return carried.length === 0 ? [] : [`${address} alone is bound: ${carried.join(', ')} ${go} with it.`]
  })
}

/** The drivers that change at once, until the next boot. */
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
 * The plan that has the chosen functions on vfio-pci from the next boot on. Where the IOMMU is off but can be switched
 * on, the plan does that and nothing else: without groups nobody knows what would go along.
 * Throws a UserError: `iommu-off`, `contradiction`, `unknown-system` (with the steps to do by hand), and those of
 * `decideMechanism`.
 */
export function planBinding(
  facts: BindFacts,
  selected: readonly PciDevice[],
  request: { passThrough: boolean; address: string | null },
): Binding {
  const { host, iommu } = facts
  const off = expectIommu(iommu)
  const { adapter, why } = facts.initramfs
  const address = { reason: request.address, place: adapter?.bootScriptLocation(), why }
  const mechanism = off ? null : decideMechanism(selected, host.kernels, facts.candidateModules, address)
  const bound = mechanism?.functions.filter(({ boundBy }) => boundBy !== 'start') ?? []
  const required = requiredArguments(facts, selected, bound, mechanism, request.passThrough)
  const modprobe = mechanism?.byModule ? modprobeSettings(facts, mechanism.module, bound) : []
  const override = bootScriptSettings(facts, bound)
  const requirements =
    mechanism === null || modprobe.length + override.length === 0
      ? null
      : planImageRequirements(mechanism.module, modprobe, override, bound)
  expectNoConflict(facts, mechanism, bound)
  const image = imageSettings(facts, requirements, bound)
  // The adapters' steps do not have the files that run the boot script.
  const runners = override.length > 0 ? image : []
  const tokens = required.map(({ token }) => token)
  expectKnownSystem(facts, [...modprobe, ...override, ...runners], requirements, tokens)

  const loader = loaderSettings(facts, required)
  // What runs on the root file system is in no image.
  const onRoot = override.length > 0 && address.place === 'root'
  const parts = [...modprobe, ...override, ...image]
  const { changes, settings, regenerated } = planSettings(
    facts,
    onRoot ? { files: parts, image: [], loader } : { image: parts, loader },
  )
  const plan = { changes, settings, notes: bindingNotes(iommu, mechanism), rebootNeeded: changes.length > 0 }
  return { plan, tokens, imageRequirements: onRoot ? null : requirements, bound, regenerated }
}

/** Is the IOMMU off? Throws a UserError with code `iommu-off` where no kernel argument would switch it on. */
export function expectIommu(iommu: IommuState): boolean {
  const off = iommu.enabled === false
  if (off && iommu.code !== 'kernel-parameter')
    throw new UserError('iommu-off', `the IOMMU is off: ${iommu.reason ?? 'nobody knows why'}`)
  return off
}

export function bindingNotes(iommu: IommuState, mechanism: Mechanism | null): string[] {
  const notes = [...(mechanism?.notes ?? [])]
  if (mechanism === null)
    notes.push('The IOMMU is off, so there are no groups yet: reboot after this, then bind the devices.')
  if (iommu.kind === 'amd') notes.push('An AMD IOMMU is on by default; amd_iommu=on is no option that Linux knows.')
  return notes
}

/** Settings of a person's that would undo ours, or that do not do what they look like, stop everything. */
export function expectNoConflict(
  facts: Pick<BindFacts, 'configured' | 'modprobe' | 'iommu'>,
  mechanism: Mechanism | null,
  bound: readonly FunctionBinding[],
): void {
  const lines = bindingConflicts(facts.configured, facts.modprobe, mechanism, bound, facts.iommu.kind)
  if (lines.length === 0) return
  const more = lines.length > 1 ? ` (and ${lines.length - 1} more)` : ''
  throw new UserError('contradiction', `${lines[0]}${more}; correct that first, nothing was written`, lines.slice(1))
}
