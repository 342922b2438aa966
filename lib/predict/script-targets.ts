import { isDisplay, type PciDevice, slotOf } from '../host/pci.ts'
import { bootScriptFunction } from '../system/boot-script.ts'

/**
 * Returns the devices that the boot script gives to vfio-pci: those of its functions that are what they were. Where one
 * is not, nothing of its slot and its IOMMU group is taken.
 */
export function takenByScript(functions: readonly string[], devices: readonly PciDevice[]): PciDevice[] {
  const known = new Map(devices.map((device) => [device.address, device]))
  const listed = functions.map((line) => {
    const [address = ''] = line.split(' ')
    const device = known.get(address)
    return { line, address, device, isSame: device !== undefined && bootScriptFunction(device) === line }
  })
  const lost = listed.filter(({ isSame }) => !isSame)
  const lostSlots = lost.map(({ address }) => slotOf(address))
  const lostGroups = lost.flatMap(({ line, device }) => [device?.group, portAbove(line, known)?.group])
  return listed.flatMap(({ address, device, isSame }) => {
    if (device === undefined || !isSame || lostSlots.includes(slotOf(address))) return []
    return device.group !== null && lostGroups.includes(device.group) ? [] : [device]
  })
}

/** Returns the nearest port that is left of those above a function, by its folder in sysfs. */
function portAbove(line: string, known: ReadonlyMap<string, PciDevice>): PciDevice | undefined {
  const above = line.split('/').slice(0, -1).reverse()
  return above.flatMap((name) => known.get(name) ?? [])[0]
}

/**
 * Returns the devices that a program which nobody knows may give to another driver: those that it names or, where it
 * finds them itself, the displays that the firmware does not use, with the other functions of their cards.
 */
export function touchedBy(addresses: readonly string[], devices: readonly PciDevice[]): PciDevice[] {
  if (addresses.length > 0) return devices.filter(({ address }) => addresses.includes(address))
  const slots = new Set(
    devices.filter((one) => isDisplay(one) && one.bootVga !== true).map(({ address }) => slotOf(address)),
  )
  return devices.filter((one) => !one.bridge && slots.has(slotOf(one.address)))
}
