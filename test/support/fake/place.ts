// Where each device of a fake machine sits: its folder, the buses behind it, the kind of PCI Express port it is.
import type { FakeDevice, Machine } from '../machine.ts'

/** Device/Port Type of the PCI Express capability (PCI Express Base Specification, 7.5.3.2). */
export const portType = { endpoint: 0, rootPort: 4, upstream: 5, downstream: 6, pciBridge: 7, integrated: 9 }

export interface Placed {
  address: string
  /** `0000`, `10000` */
  domain: string
  bus: number
  /** `01:00.` with its domain: what the functions of one card share */
  slot: string
  device: FakeDevice
  parent: Placed | undefined
  children: Placed[]
  /** folder from the tree's root */
  path: string
  onRootBus: boolean
  bridge: boolean
  pcie: boolean
  port: number
  multifunction: boolean
  secondary: number
  subordinate: number
  /** number of the device in the machine, from 0 */
  index: number
}

/** Everything in the order of the data file, by address. */
export function placeDevices(machine: Machine): Map<string, Placed> {
  const placed = new Map<string, Placed>()
  for (const [address, device] of Object.entries(machine.devices)) {
    const [domain = '', bus = '', rest = ''] = address.split(':')
    placed.set(address, {
      address,
      domain,
      bus: Number.parseInt(bus, 16),
      slot: `${domain}:${bus}:${rest.slice(0, 3)}`,
      device,
      parent: undefined,
      children: [],
      path: '',
      onRootBus: true,
      bridge: device.class.startsWith('0604'),
      pcie: false,
      port: portType.endpoint,
      multifunction: false,
      secondary: 0,
      subordinate: 0,
      index: placed.size,
    })
  }
  for (const one of placed.values()) {
    if (one.device.under === undefined) continue
    const parent = placed.get(one.device.under)
    if (parent === undefined) throw new Error(`${one.address}: no device ${one.device.under} to sit under`)
    one.parent = parent
    one.onRootBus = parent.domain !== one.domain
    parent.children.push(one)
  }
  const slots = new Map<string, number>()
  for (const one of placed.values()) slots.set(one.slot, (slots.get(one.slot) ?? 0) + 1)
  for (const one of placed.values()) {
    one.multifunction = (slots.get(one.slot) ?? 0) > 1
    if (one.path === '') settle(one)
  }
  for (const one of placed.values()) one.port = portOf(one)
  numberBuses(placed)
  return placed
}

/** Folder and PCI Express capability, parents first. */
function settle(one: Placed): void {
  if (one.parent !== undefined && one.parent.path === '') settle(one.parent)
  const above = one.parent?.path ?? 'sys/devices'
  const rootBus = `pci${one.domain}:${hex(one.bus, 2)}`
  one.path = one.onRootBus ? `${above}/${rootBus}/${one.address}` : `${above}/${one.address}`
  const methods = typeof one.device.reset === 'string' ? one.device.reset.split(' ') : []
  const usual = one.onRootBus ? one.bridge || methods.includes('flr') : one.parent?.pcie === true
  one.pcie = one.device.pcie ?? usual
}

function portOf(one: Placed): number {
  if (!one.bridge) return one.onRootBus ? portType.integrated : portType.endpoint
  if (one.onRootBus) return portType.rootPort
  if (one.parent !== undefined && portOf(one.parent) === portType.upstream) return portType.downstream
  const pci = one.children.length > 0 && one.children.every((child) => !child.pcie)
  return pci ? portType.pciBridge : portType.upstream
}

/** The bus behind each bridge, and the last one below it. */
function numberBuses(placed: Map<string, Placed>): void {
  const used = new Set<string>()
  for (const one of placed.values()) used.add(`${one.domain}:${one.bus}`)
  const behind = (one: Placed): number => {
    const own = one.device.bus
    const [child] = one.children
    if (child !== undefined) one.secondary = child.bus
    else if (own !== undefined) one.secondary = Number.parseInt(own, 16)
    else {
      let free = one.bus + 1
      while (used.has(`${one.domain}:${free}`) && free < 255) free++
      one.secondary = free
    }
    used.add(`${one.domain}:${one.secondary}`)
    const below = one.children.filter((each) => each.bridge).map(behind)
    const last = one.children.map((each) => each.bus)
    one.subordinate = Math.max(one.secondary, ...below, ...last)
    return one.subordinate
  }
  for (const one of placed.values()) if (one.bridge && (one.onRootBus || one.parent === undefined)) behind(one)
}

/** Lower-case hexadecimal of at least that many digits. */
export function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0')
}
