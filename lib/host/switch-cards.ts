import { withMore } from './later.ts'
import { cardOf, isDisplay, isPciBridge, type PciDevice, slotOf } from './pci.ts'

/**
 * Returns the devices with the card of each. A graphics card may carry a switch, with its display on one bus below it
 * and its audio on another (Intel Arc): these are one card, which has the name of the display's slot. The switch is the
 * card's own when it is of the display's vendor, and when there is below it but one slot with a display, and else only
 * audio and serial buses of the same vendor and board: a switch of the mainboard, of a riser or of Thunderbolt has other
 * things below it, or another vendor.
 */
export function withSwitchCards(devices: readonly PciDevice[]): PciDevice[] {
  const byAddress = new Map(devices.map((device) => [device.address, device]))
  const switches = new Map<string, PciDevice[]>()
  for (const device of devices) {
    const port = isDisplay(device) ? switchAbove(device, byAddress) : undefined
    if (port?.vendor.id === device.vendor.id && device.physicalFunction === null) switches.set(port.address, [])
  }
  if (switches.size === 0) return [...devices]
  for (const device of devices)
    if (!device.bridge && device.physicalFunction === null)
      for (const name of device.path.split('/')) if (name !== device.address) switches.get(name)?.push(device)
  const cards = new Map<PciDevice, string>()
  for (const functions of switches.values()) {
    const card = oneCard(functions)
    if (card !== null) for (const device of functions) cards.set(device, card)
  }
  return devices.map((device) => {
    const card = cards.get(device)
    return card === undefined ? device : withMore(device, { card })
  })
}

/** Returns the upstream port of the switch whose downstream port is right above the device. */
function switchAbove({ parent }: PciDevice, byAddress: ReadonlyMap<string, PciDevice>): PciDevice | undefined {
  const downstream = byAddress.get(parent ?? '')
  const upstream = byAddress.get(downstream?.parent ?? '')
  return downstream && upstream && isPciBridge(downstream) && isPciBridge(upstream) ? upstream : undefined
}

/** Returns the slot of the only display among these functions, when the others can be parts of its card. */
function oneCard(functions: readonly PciDevice[]): string | null {
  const [display] = functions.filter(isDisplay)
  if (display === undefined) return null
  const board = display.subsystem?.vendor
  const belongs = (one: PciDevice): boolean =>
    one.vendor.id === display.vendor.id &&
    (one.subsystem === null || board === undefined || one.subsystem.vendor === board) &&
    (slotOf(one.address) === slotOf(display.address) || /^(040[013]|0c03|0c80)$/.test(one.class.id))
  return functions.every(belongs) ? cardOf(display) : null
}
