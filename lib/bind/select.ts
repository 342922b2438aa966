import { UserError } from '../core/error.ts'
import { cardOf, type PciDevice, slotOf } from '../host/pci.ts'

/** A name of devices: `0000:01:00.0`, `01:00` (a slot), `10de:1f82` (an ID), `group:14`. */
export interface Selector {
  /** The text as it was given. */
  text: string
  matches(device: PciDevice): boolean
}

/** Parses a device argument. Throws a UserError with code `usage` for anything else. */
export function parseSelector(text: string): Selector {
  const lower = text.toLowerCase()
  const group = /^group:(\d{1,9})$/.exec(lower)?.[1]
  if (group !== undefined) return { text, matches: (device) => device.group === Number(group) }
  const id = /^([0-9a-f]{4}):([0-9a-f]{4})$/.exec(lower)
  if (id !== null) return { text, matches: (device) => device.vendor.id === id[1] && device.device.id === id[2] }
  const place = /^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}:[01][0-9a-f])(?:\.([0-7]))?$/.exec(lower)
  if (place === null) {
    throw new UserError(
      'usage',
      `${text}: not a device; write 0000:01:00.0, 01:00.0, 01:00 (all functions), 10de:1f82 or group:14`,
    )
  }
  const [, domain = '0000', slot, fn] = place
  const wide = `${domain}:${slot}`
  // A slot is the whole card, also one on several buses.
  if (fn === undefined) return { text, matches: ({ address, card }) => slotOf(address) === wide || card === wide }
  return { text, matches: (device) => device.address === `${domain}:${slot}.${fn}` }
}

/**
 * Returns the one device that this text names; `shown` is the option that has it: `--vf 3b:00.0`. Throws a UserError:
 * `usage` for no selector and where several match, `no-device`.
 */
export function expectOneDevice(devices: readonly PciDevice[], text: string, shown: string): PciDevice {
  const [device, ...more] = devices.filter(parseSelector(text).matches)
  if (device === undefined)
    throw new UserError('no-device', `${shown}: no such device on this machine; list-iommu --sriov shows what there is`)
  if (more.length > 0) throw new UserError('usage', `${shown}: several functions; name one, as ${device.address}`)
  return device
}

/** The conditions of the filter options and device arguments. Kinds combine (and); several of one kind widen (or). */
export interface Filter {
  /** Class prefixes: `03`, `0c03`, `010802`. */
  classes: readonly string[]
  ids: readonly Selector[]
  /** Driver names; `none` for devices without one. */
  drivers: readonly string[]
  groups: readonly Selector[]
  devices: readonly Selector[]
  /** Widen each match to its IOMMU group. */
  withGroup: boolean
  /** Widen each match to all functions of its card. */
  card: boolean
}

/** The numeric classes of `--gpu`, `--usb` …: names differ between databases, classes do not. */
export const CLASS_OPTIONS: Readonly<Record<string, readonly string[]>> = {
  gpu: ['03'],
  usb: ['0c03'],
  net: ['02'],
  nvme: ['0108'],
  audio: ['0401', '0403'],
}

/** Parses `--class`: two, four or six hex digits. Throws a UserError with code `usage` for anything else. */
export function parseClass(text: string): string {
  if (!/^([0-9a-f]{2}){1,3}$/i.test(text)) {
    throw new UserError('usage', `--class ${text}: not a class; write two, four or six hex digits (03, 0300, 010802)`)
  }
  return text.toLowerCase()
}

/** Parses `--id`: `10de:1cb6`. Throws a UserError with code `usage` for anything else. */
export function parseId(text: string): Selector {
  if (!/^[0-9a-f]{4}:[0-9a-f]{4}$/i.test(text))
    throw new UserError('usage', `--id ${text}: not an ID such as 10de:1cb6`)
  return parseSelector(text)
}

/** Parses `--group`: a group number. Throws a UserError with code `usage` for anything else. */
export function parseGroup(text: string): Selector {
  if (!/^\d{1,9}$/.test(text)) throw new UserError('usage', `--group ${text}: not a group number`)
  return parseSelector(`group:${text}`)
}

export interface Selection {
  devices: PciDevice[]
  /** Device arguments that name nothing on this machine. */
  missing: string[]
}

/** Returns the devices that match a filter, in the order of `devices`. */
export function selectDevices(devices: readonly PciDevice[], filter: Filter): Selection {
  const any = <T>(required: readonly T[], test: (one: T) => boolean): boolean =>
    required.length === 0 || required.some(test)
  const matching = devices.filter(
    (device) =>
      any(filter.classes, (prefix) => (device.class.id + device.class.progIf).startsWith(prefix)) &&
      any(filter.ids, (id) => id.matches(device)) &&
      any(filter.drivers, (driver) => (device.driver ?? 'none') === driver) &&
      any(filter.groups, (group) => group.matches(device)) &&
      any(filter.devices, (selector) => selector.matches(device)),
  )
  return {
    devices: widen(devices, matching, filter),
    missing: filter.devices
      .filter((selector) => !devices.some((device) => selector.matches(device)))
      .map(({ text }) => text),
  }
}

function widen(all: readonly PciDevice[], matching: readonly PciDevice[], filter: Filter): PciDevice[] {
  const cards = new Set(filter.card ? matching.map(cardOf) : [])
  const selected = new Set(matching)
  if (filter.card) for (const device of all) if (cards.has(cardOf(device))) selected.add(device)
  const groups = new Set(filter.withGroup ? [...selected].map((device) => device.group) : [])
  groups.delete(null)
  return all.filter((device) => selected.has(device) || groups.has(device.group))
}
