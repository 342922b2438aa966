import { isPciBridge, onRootBus, type PciDevice } from '../host/pci.ts'

/**
 * The means by which a function is reset when its guest stops. `alone`: a method of its own. `bus`: VFIO resets it with
 * its bus. `refused`: only the bus is left, and VFIO refuses it. `none`: nothing. `unknown`: the tree does not say.
 */
export type ResetMeans = 'alone' | 'bus' | 'refused' | 'none' | 'unknown'

/** The division of a machine's devices between guest and host. */
export interface DeviceOwnership {
  /** The devices that go to the guest. */
  guest: ReadonlySet<PciDevice>
  /** The devices that are set aside for any guest: a VFIO driver has them. */
  onVfio: ReadonlySet<PciDevice>
  /** Did a person name the devices that go to the guest? */
  requested: boolean
}

/** The reset of a card's functions when their guest stops, and the devices that it concerns. */
export interface ResetScope {
  /** The means for each function that goes to the guest. */
  means: ReadonlyMap<PciDevice, ResetMeans>
  /** The bridge above, where a function needs its bus to be reset. */
  bridge: PciDevice | null
  /** The devices below that bridge other than the card's functions that go to the guest. */
  alongside: PciDevice[]
  /** Those of `alongside` that stay with the host. */
  staying: PciDevice[]
}

/** A PCI bridge, and all devices below it, at any depth. */
export interface PciBridge {
  device: PciDevice
  below: PciDevice[]
}

/** Returns the PCI bridges by address. Call it once for a machine, which may have thousands of cards. */
export function findPciBridges(all: readonly PciDevice[]): Map<string, PciBridge> {
  const bridges = new Map<string, PciBridge>()
  for (const device of all) if (isPciBridge(device)) bridges.set(device.address, { device, below: [] })
  for (const device of all)
    for (const name of device.path.split('/')) if (name !== device.address) bridges.get(name)?.below.push(device)
  return bridges
}

/** Returns the bridge above the card, if its bus can be reset: a virtual function has no bus of its own. */
function resettableBridge(
  functions: readonly PciDevice[],
  tree: ReadonlyMap<string, PciBridge>,
): PciBridge | undefined {
  const [first] = functions
  if (first === undefined || first.parent === null || first.physicalFunction !== null || onRootBus(first))
    return undefined
  return tree.get(first.parent)
}

/** The methods that reset one function and nothing else; `bus` and `cxl_bus` reset the bus. */
const OWN_METHODS = new Set(['device_specific', 'acpi', 'flr', 'af_flr', 'pm'])

const ownMethod = ({ reset }: PciDevice): string | undefined => reset.methods?.find((method) => OWN_METHODS.has(method))

function resetsItself(device: PciDevice): boolean | null {
  const { supported, methods } = device.reset
  if (supported !== true) return supported
  // Before Linux 5.15 the reset may be that of the bus, but not on a root bus or beside siblings.
  if (methods === null) return onRootBus(device) ? true : null
  return ownMethod(device) !== undefined
}

/**
 * Decides how each function of a card that goes to the guest is reset. VFIO refuses a hot reset unless every device on
 * the bus is in a group that the guest owns, or is idle and set aside for guests when the last guest closes its device.
 * A bridge never meets this: no VFIO driver takes it.
 * Source: vfio_pci_core.c and pci_reset_fn_methods in the kernel, vfio_pci_hot_reset() in QEMU's hw/vfio/pci.c.
 */
export function decideResetScope(
  functions: readonly PciDevice[],
  ownership: DeviceOwnership,
  tree: ReadonlyMap<string, PciBridge>,
): ResetScope {
  const leaving = functions.filter((device) => ownership.guest.has(device))
  const own = leaving.map(resetsItself)
  const bridge = own.every((itself) => itself === true) ? undefined : resettableBridge(leaving, tree)
  const alongside = bridge?.below.filter((device) => !leaving.includes(device)) ?? []
  const staying = alongside.filter((device) => !ownership.guest.has(device) && !ownership.onVfio.has(device))
  const leftTo = (itself: boolean | null | undefined): ResetMeans => {
    if (itself === true) return 'alone'
    if (bridge !== undefined && staying.length === 0) return 'bus'
    if (itself !== false) return 'unknown'
    return bridge === undefined ? 'none' : 'refused'
  }
  const left = new Map(leaving.map((device, index) => [device, leftTo(own[index])]))
  return { means: left, bridge: bridge?.device ?? null, alongside, staying }
}

/** Returns the text, for a person, on how the card is reset. */
export function resetScopeText({ means, bridge, alongside, staying }: ResetScope, ownership: DeviceOwnership): string {
  const leaving = [...means.keys()]
  const of = (fate: ResetMeans): PciDevice[] => leaving.filter((device) => means.get(device) === fate)
  if (bridge !== null) return busResetText(bridge, { means, bridge, alongside, staying }, ownership)
  if (of('alone').length === leaving.length)
    return leaving.length > 1 ? 'every function resets itself' : 'the function resets itself'
  if (of('unknown').length > 0) return 'this tree does not say how it can be reset'
  return `${addressList(of('none'))}: no reset method, and no bridge above whose bus could be reset`
}

function busResetText(
  bridge: PciDevice,
  { means, alongside, staying }: ResetScope,
  ownership: DeviceOwnership,
): string {
  const leaving = [...means.keys()]
  if (staying.length > 0) {
    const [first] = staying
    const requirements = leaving.find((device) => means.get(device) !== 'alone')
    const group = first?.group ?? '?'
    const says = `QEMU: Cannot reset device ${requirements?.address}, depends on group ${group} which is not owned`
    const who = staying.map((device) => `${device.address} (${groupText(device)})`).join(', ')
    const stay = `${who} ${staying.length === 1 ? 'stays' : 'stay'} with the host`
    const wayOut = staying.every((device) => !device.bridge) ? 'give the guest all of them, or use' : 'use'
    const rest = leaving
      .map((device) => `${device.address} has ${resetMeansText(device, means.get(device))}`)
      .join(', ')
    return `VFIO refuses to reset the bus below ${bridge.address}, since ${stay} (${says}): ${wayOut} another slot. Left without it: ${rest}`
  }
  const groups = new Set(leaving.map(({ group }) => group))
  const whole = `VFIO resets the whole bus below ${bridge.address}${!ownership.requested && groups.size > 1 ? ' if all functions go to one guest' : ''}`
  const along = alongside.filter((device) => ownership.guest.has(device))
  const waiting = alongside.filter((device) => !ownership.guest.has(device))
  const parts = [
    ...(along.length > 0 ? [`${addressList(along)} go along, to the guest as well`] : []),
    ...(waiting.length > 0 ? [`only when no guest uses ${addressList(waiting)}`] : []),
  ]
  return `${whole}; ${parts.join('; ') || 'nothing else is on it'}`
}

function resetMeansText(device: PciDevice, means: ResetMeans | undefined): string {
  if (means === 'alone') return `${ownMethod(device) ?? 'a reset'} of its own`
  return means === 'unknown' ? 'perhaps a reset of its own' : 'nothing'
}

function groupText({ group }: PciDevice): string {
  return group === null ? 'no group' : `group ${group}`
}

function addressList(devices: readonly PciDevice[]): string {
  return devices.map(({ address }) => address).join(', ')
}
