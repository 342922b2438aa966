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
    return { address, device, isSame: device !== undefined && bootScriptFunction(device) === line }
  })
  const lost = listed.filter(({ isSame }) => !isSame)
  return listed.flatMap(({ address, device, isSame }) => {
    if (device === undefined || !isSame) return []
    const spoiled = lost.some(
      (one) =>
        slotOf(one.address) === slotOf(address) ||
        (one.device !== undefined && device.group !== null && one.device.group === device.group),
    )
    return spoiled ? [] : [device]
  })
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
