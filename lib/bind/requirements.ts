import lt from 'semver/functions/lt.js'
import type { Kernel } from '../host/installed-kernels.ts'
import type { IommuState } from '../host/iommu.ts'
import { isDisplay, type PciDevice } from '../host/pci.ts'
import { bootScriptFunction } from '../system/boot-script.ts'
import type { GuestSoftware } from '../system/packages.ts'
import type { Requirement } from '../system/requirement.ts'
import type { Host } from '../system/system.ts'
import { type FunctionBinding, iommuArguments, type Mechanism } from './mechanism.ts'

export interface BindRequest {
  /** Is iommu=pt requested? */
  passThrough: boolean
  /** The reason to bind functions by address; `null`: they are bound by ID where that is enough. */
  address: string | null
  /** Other software that guests need, on a described system: virtiofsd. */
  software: readonly GuestSoftware[]
  /** Are images and boot entries made again in any case, since they do not hold what the files say? */
  again?: boolean
  /** The file to write on a described system; `null`: none is written, and the present or usual one is shown. */
  output: string | null
  /** The functions that settings of the person bind: they only need the IOMMU. */
  bound?: readonly PciDevice[]
}

/**
 * Returns the requirements for these functions to be on vfio-pci from the next boot on; without a mechanism, those for
 * the IOMMU to be on. `all`: every function of the host.
 */
export function bindRequirements(
  host: Host,
  iommu: IommuState,
  mechanism: Mechanism | null,
  all: readonly PciDevice[],
  selected: readonly PciDevice[],
  { passThrough, software, bound: already = [] }: BindRequest,
): Requirement[] {
  const bound = boundByBoot(mechanism)
  if (mechanism !== null && bound.length + already.length === 0) return []
  const owners =
    bound.length + already.length > 0 ? [...addressesOf(bound), ...already.map(({ address }) => address)] : ['host']
  const switches = iommuArguments(host, iommu, [...selected, ...already], passThrough).map(
    (one): Requirement => ({ kind: 'argument', ...one, owners }),
  )
  if (mechanism === null || bound.length === 0) return switches
  const { module, byArgument: builtin, byModule: loadable } = mechanism
  const byId = bound.filter(({ boundBy }) => boundBy === 'id')
  const ids = [...new Set(byId.map(({ id }) => id))]
  const drivers = [...new Set(byId.flatMap(({ modules }) => modules))].sort()
  const usersOf = (driver: string): FunctionBinding[] => bound.filter(({ modules }) => modules.includes(driver))
  return [
    ...switches,
    ...ids.map((id): Requirement => {
      const own = addressesOf(byId.filter((one) => one.id === id))
      return { kind: 'id', module, id, builtin, loadable, reason: `${module} takes ${id}`, owners: own }
    }),
    {
      kind: 'early',
      module,
      parts: partsOf(module).filter((name) => isLoadable(host.kernels, name)),
      drivers: [...new Set(bound.flatMap(({ device, modules }) => (isDisplay(device) ? modules : [])))],
      reason: `${module} is loaded in the initramfs`,
      owners,
    },
    ...bound
      .filter(({ boundBy }) => boundBy === 'address')
      .map(({ device }): Requirement => {
        const reason = 'gives these addresses to vfio-pci, if they are what they were'
        return { kind: 'address', function: bootScriptFunction(device), reason, owners: [device.address] }
      }),
    ...drivers.map((driver): Requirement => {
      const reason = `${module} comes before ${driver}`
      return { kind: 'order', module, driver, reason, owners: addressesOf(usersOf(driver)) }
    }),
    ...drivers
      .filter((driver) => isOnlyFor(driver, usersOf(driver), all))
      .map((driver): Requirement => {
        const reason = `no other device needs ${driver}`
        return { kind: 'unneeded', driver, reason, owners: addressesOf(usersOf(driver)) }
      }),
    ...software.map((need): Requirement => ({ kind: 'software', need, reason: 'shares folders with guests', owners })),
  ]
}

/** Returns the functions that are bound at boot: not those that libvirt takes when a guest starts. */
export function boundByBoot(mechanism: Mechanism | null): FunctionBinding[] {
  return mechanism?.functions.filter(({ boundBy }) => boundBy !== 'start') ?? []
}

const addressesOf = (bound: readonly FunctionBinding[]): string[] => bound.map(({ device }) => device.address)

const partsOf = (module: Mechanism['module']): string[] =>
  module === 'vfio-pci' ? ['vfio_pci', 'vfio', 'vfio_iommu_type1', 'vfio_virqfd'] : ['pci_stub']

/** Does one of the kernels have it as a loadable module? vfio_virqfd is a part of vfio since Linux 6.2. */
function isLoadable(kernels: readonly Kernel[], name: string): boolean {
  return kernels.some((kernel) => {
    const how = kernel.provides(name)
    if (how !== null) return how === 'module'
    return name !== 'vfio_virqfd' || (kernel.version !== null && lt(kernel.version, '6.2.0'))
  })
}

/** Is the driver of a graphics card one that no device of the host has or could have? */
function isOnlyFor(driver: string, users: readonly FunctionBinding[], all: readonly PciDevice[]): boolean {
  const own = users.map(({ device }) => device)
  const others = all.filter((device) => !own.includes(device))
  return (
    own.every(isDisplay) &&
    others.every((one) => one.modules !== null && one.driver !== driver && !one.modules.includes(driver))
  )
}
