import { headComment, type PlannedSetting, type Setting } from '../change/settings.ts'
import type { Directive } from '../edit/modprobe.ts'
import { findIds, softdepFor } from '../edit/modprobe-conflicts.ts'
import type { IommuState } from '../host/iommu.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import { BOOT_SCRIPT, BOOT_SCRIPT_HEAD, bootScriptFunction } from '../system/boot-script.ts'
import type { Bootloader, Detected, Host, Initramfs, InitramfsRequirements } from '../system/system.ts'
import { OWN_MODPROBE_FILE } from './conflicts.ts'
import { type FunctionBinding, iommuArguments, type Mechanism } from './mechanism.ts'

const OWN_MODPROBE_PATH = `/etc/modprobe.d/${OWN_MODPROBE_FILE}`

/** What the settings depend on. */
interface RequirementFacts {
  host: Host
  iommu: IommuState
  modprobe: readonly Directive[]
  bootloader: Detected<Bootloader>
  initramfs: Detected<Initramfs>
}

/** A kernel argument, why, and for which devices. */
export interface ArgumentRequirement {
  token: string
  reason: string
  devices: string[]
}

export function requiredArguments(
  { host, iommu }: RequirementFacts,
  selected: readonly PciDevice[],
  bound: readonly FunctionBinding[],
  mechanism: Mechanism | null,
  passThrough: boolean,
): ArgumentRequirement[] {
  if (mechanism !== null && bound.length === 0) return []
  const all = bound.length > 0 ? bound.map(({ device }) => device.address) : ['host']
  const tokens = iommuArguments(host, iommu, selected, passThrough).map((one) => ({ ...one, devices: all }))
  if (!mechanism?.byArgument) return tokens
  const { module } = mechanism
  const reason = `${module} is built into the kernel, which takes IDs from its command line alone`
  return [
    ...tokens,
    ...devicesById(bound).map(({ id, devices }) => ({ token: `${module}.ids=${id}`, reason, devices })),
  ]
}

/** Each ID once, with the addresses that have it. */
export function devicesById(bound: readonly FunctionBinding[]): { id: string; devices: string[] }[] {
  const ids = [...new Set(bound.map(({ id }) => id))]
  return ids.map((id) => ({ id, devices: bound.filter((one) => one.id === id).map(({ device }) => device.address) }))
}

/** `options` with the IDs, and a softdep for every module that could come first. */
export function modprobeSettings(
  { host, modprobe }: RequirementFacts,
  module: string,
  bound: readonly FunctionBinding[],
): PlannedSetting[] {
  const own = { path: host.files.resolve(OWN_MODPROBE_PATH) ?? OWN_MODPROBE_PATH, head: headComment() }
  // A second list would replace the first: where somebody has one already, ours goes into it.
  const theirs = findIds(modprobe, module)
    .filter(({ file }) => file !== own.path)
    .at(-1)
  const place = theirs === undefined ? own : { path: host.files.resolve(theirs.file) ?? theirs.file }
  const names = [...new Set(bound.flatMap(({ modules }) => modules))].sort()
  const others = modprobe.filter(({ file }) => file !== own.path)
  const ids = devicesById(bound)
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

/** The boot script with a line for each function that goes by address. */
export function bootScriptSettings({ host }: RequirementFacts, bound: readonly FunctionBinding[]): PlannedSetting[] {
  return bound
    .filter(({ boundBy }) => boundBy === 'address')
    .map(({ device }): PlannedSetting => {
      const line = `#= ${bootScriptFunction(device)}`
      const reason = 'gives these addresses to vfio-pci, if they are what they were'
      const place = { path: host.files.resolve(BOOT_SCRIPT) ?? BOOT_SCRIPT, head: BOOT_SCRIPT_HEAD, mode: 0o755 }
      return { kind: 'line', ...place, line, devices: [device.address], reason }
    })
}

export function planImageRequirements(
  module: string,
  modprobe: readonly Setting[],
  override: readonly Setting[],
  bound: readonly FunctionBinding[],
): InitramfsRequirements {
  const drivers = bound.flatMap(({ device, modules }) => (isDisplay(device) ? modules : []))
  return {
    module,
    modprobe: [...new Set(modprobe.map(({ path }) => path))],
    bootScript: override[0]?.path ?? null,
    drivers: [...new Set(drivers)],
  }
}

export function imageSettings(
  { initramfs }: RequirementFacts,
  requirements: InitramfsRequirements | null,
  bound: readonly FunctionBinding[],
): PlannedSetting[] {
  const devices = bound.map(({ device }) => device.address)
  const settings = requirements === null ? [] : (initramfs.adapter?.settings(requirements) ?? [])
  return settings.map((setting) => ({ ...setting, devices }))
}

export function loaderSettings(
  { bootloader }: RequirementFacts,
  requirements: readonly ArgumentRequirement[],
): PlannedSetting[] {
  return requirements.flatMap(({ devices, ...one }) =>
    (bootloader.adapter?.settings([one]) ?? []).map((setting) => ({ ...setting, devices })),
  )
}
