import { isPciBridge, onRootBus, type PciDevice } from '../host/pci.ts'

/**
 * What resets a function when its guest stops. `alone`: a method of its own. `bus`: VFIO, with the bus. `refused`: only
 * the bus is left, and VFIO refuses it. `none`: nothing. `unknown`: the tree does not say.
 */
export type ResetMeans = 'alone' | 'bus' | 'refused' | 'none' | 'unknown'

/** Who gets what of a machine. */
export interface DeviceOwnership {
  /** What goes to the guest. */
  guest: ReadonlySet<PciDevice>
  /** What is set aside for guests, whichever. */
  onVfio: ReadonlySet<PciDevice>
  /** Did somebody name what goes? */
  requested: boolean
}

/** What becomes of a card's functions when their guest stops. */
export interface ResetScope {
  /** Of those that go to the guest. */
  means: ReadonlyMap<PciDevice, ResetMeans>
  /** Where a function needs its bus to be reset: the bridge above, and what is below it beside the guest's functions. */
  bridge: PciDevice | null
  alongside: PciDevice[]
  /** Those that stay with the host. */
  staying: PciDevice[]
}

/** A PCI bridge, and all devices below it, at any depth. */
export interface PciBridge {
  device: PciDevice
  below: PciDevice[]
}

/** The PCI bridges by address. Built once: a machine may have thousands of cards. */
export function findPciBridges(all: readonly PciDevice[]): Map<string, PciBridge> {
  const bridges = new Map<string, PciBridge>()
  for (const device of all) if (isPciBridge(device)) bridges.set(device.address, { device, below: [] })
  for (const device of all)
    for (const name of device.path.split('/')) if (name !== device.address) bridges.get(name)?.below.push(device)
  return bridges
}

/** The bridge above the card; a virtual function has no bus of its own to reset. */
function resettableBridge(
  functions: readonly PciDevice[],
  tree: ReadonlyMap<string, PciBridge>,
): PciBridge | undefined {
  const [first] = functions
  if (first === undefined || first.parent === null || first.physicalFunction !== null || onRootBus(first))
    return undefined
  return tree.get(first.parent)
}

/** Methods that reset one function and nothing else; `bus` and `cxl_bus` reset the bus. */
const OWN_METHODS = new Set(['device_specific', 'acpi', 'flr', 'af_flr', 'pm'])

const ownMethod = ({ reset }: PciDevice): string | undefined => reset.methods?.find((method) => OWN_METHODS.has(method))

function resetsItself(device: PciDevice): boolean | null {
  const { supported, methods } = device.reset
  if (supported !== true) return supported
  // Before Linux 5.15 a reset that exists may be the bus's; on a root bus or beside siblings it cannot be.
  if (methods === null) return onRootBus(device) ? true : null
  return ownMethod(device) !== undefined
}

/**
 * A hot reset is VFIO's to refuse: all that is on the bus has to be in groups that the guest owns, or idle and set aside
 * for guests when the last of them closes its device. A bridge can never be: no driver of VFIO's takes it.
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

/** What becomes of the card, for people. */
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
