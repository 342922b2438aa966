import { parseSelector } from '../../bind/select.ts'
import type { PciDevice } from '../../host/pci.ts'
import type { Disk, GuestCard } from '../guest.ts'
import { cardHostdevs, diskElement, type GuestSlot, PORT_ALIAS, rootPort } from './device-xml.ts'
import type { ParsedElement } from './document.ts'
import { attribute, child, childrenOf, insertElements, removeElement, setAttribute } from './edit-document.ts'
import { ensureElement, parseDomain } from './patch.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

const devicesOf = (text: string): ParsedElement | undefined => child(parseDomain(text), 'devices')

/** Adds device elements behind those of their kind. */
export function addDevices(text: string, elements: readonly XmlElement[]): string {
  return elements.reduce((result, each) => {
    const devices = devicesOf(result)
    if (devices === undefined) return ensureElement(result, [], xmlElement('devices', {}, each))
    return insertElements(result, devices, [each], [each.name])
  }, text)
}

const parseNumber = (text: string | undefined): number => (text === undefined ? Number.NaN : Number(text))

/** `0000:01:00.0` of a PCI hostdev's source. */
export function hostAddressOf(hostdev: ParsedElement): string | undefined {
  const source = child(hostdev, 'source', 'address')
  if (attribute(hostdev, 'type') !== 'pci' || source === undefined) return undefined
  const field = (name: string, digits: number): string =>
    parseNumber(attribute(source, name) ?? '0')
      .toString(16)
      .padStart(digits, '0')
  return `${field('domain', 4)}:${field('bus', 2)}:${field('slot', 2)}.${field('function', 1)}`
}

/** The elements that have an address on the guest's PCI bus of that number. */
function elementsOnBus(text: string, bus: number): ParsedElement[] {
  return (devicesOf(text)?.children ?? []).filter((each) => {
    const address = child(each, 'address')
    return attribute(address, 'type') === 'pci' && parseNumber(attribute(address, 'bus')) === bus
  })
}

/** Puts a card where nothing is: behind a new root port, or on a free slot of i440fx. */
function freeSlot(text: string): GuestSlot {
  const root = parseDomain(text)
  const devices = devicesOf(text)?.children ?? []
  const machine = attribute(child(root, 'os', 'type'), 'machine') ?? 'pc'
  const express =
    /q35|virt/.test(machine) || devices.some((each) => (attribute(each, 'model') ?? '').startsWith('pcie-'))
  if (!express) {
    const bound = elementsOnBus(text, 0).map((each) => parseNumber(attribute(child(each, 'address'), 'slot')))
    const slot = Array.from({ length: 15 }, (_, index) => 0x10 + index).find((each) => !bound.includes(each))
    return { slot: slot ?? 0x1e }
  }
  const used = devices.flatMap((each) => [
    each.name === 'controller' && attribute(each, 'type') === 'pci' ? parseNumber(attribute(each, 'index')) : 0,
    attribute(child(each, 'address'), 'type') === 'pci' ? parseNumber(attribute(child(each, 'address'), 'bus')) : 0,
  ])
  return { port: Math.max(0, ...used.filter(Number.isFinite)) + 1 }
}

/** Adds the functions of a card that the domain lacks: beside those that it has, or else on a slot of their own. */
export function addCard(text: string, card: GuestCard, alias: boolean): string {
  const present = childrenOf(devicesOf(text), 'hostdev')
  const known = new Map(present.map((each) => [hostAddressOf(each), each]))
  const lacking = card.functions.filter(({ address }) => !known.has(address))
  if (lacking.length === 0) return card.functions.reduce(addRom, text)
  const beside = card.functions
    .map(({ address }) => child(known.get(address), 'address'))
    .find((each) => each !== undefined)
  if (beside === undefined) {
    const place = freeSlot(text)
    const required = { ...card, functions: lacking }
    const ported = 'port' in place ? addDevices(text, [rootPort(required, place.port, alias)]) : text
    return addDevices(ported, cardHostdevs(required, place, null, alias))
  }
  return addToSameSlot(text, { ...card, functions: lacking }, beside)
}

/** On the slot of the functions that are there already; function 0 then says that there are more. */
function addToSameSlot(text: string, card: GuestCard, beside: ParsedElement): string {
  const bus = parseNumber(attribute(beside, 'bus'))
  const slot = parseNumber(attribute(beside, 'slot'))
  const same = elementsOnBus(text, bus).filter(
    (each) => parseNumber(attribute(child(each, 'address'), 'slot')) === slot,
  )
  const bound = same.map((each) => parseNumber(attribute(child(each, 'address'), 'function')))
  const free = [0, 1, 2, 3, 4, 5, 6, 7].filter((each) => !bound.includes(each))
  const parts = cardHostdevs(card, { port: bus }, null, false).map((hostdev, index) => ({
    ...hostdev,
    children: hostdev.children.map((each) =>
      each.name !== 'address'
        ? each
        : xmlElement('address', {
            ...each.attributes,
            slot: `0x${slot.toString(16).padStart(2, '0')}`,
            function: `0x${free[index] ?? 7}`,
            multifunction: null,
          }),
    ),
  }))
  const added = addDevices(text, parts)
  const first = elementsOnBus(added, bus)
    .map((each) => child(each, 'address'))
    .find((each) => parseNumber(attribute(each, 'slot')) === slot && parseNumber(attribute(each, 'function')) === 0)
  return first === undefined || attribute(first, 'multifunction') === 'on'
    ? added
    : setAttribute(added, first, 'multifunction', 'on')
}

function addRom(text: string, { address, rom }: GuestCard['functions'][number]): string {
  const hostdev = childrenOf(devicesOf(text), 'hostdev').find((each) => hostAddressOf(each) === address)
  if (rom === null || hostdev === undefined) return text
  const known = child(hostdev, 'rom')
  if (known === undefined)
    return insertElements(text, hostdev, [xmlElement('rom', { file: rom })], ['source', 'boot', 'alias'])
  return attribute(known, 'file') === rom ? text : setAttribute(text, known, 'file', rom)
}

/**
 * Takes devices out: those at a PCI address or slot, of an ID (USB), or at one of `addresses`. With the last function
 * of a card goes the root port that a patch gave it. `undefined`: the domain has no such device.
 */
export function removeDevice(text: string, requested: string, addresses: readonly string[]): string | undefined {
  const { matches } = parseSelector(requested)
  const id = requested.toLowerCase()
  const gone = childrenOf(devicesOf(text), 'hostdev').filter((each) => {
    const address = hostAddressOf(each)
    if (address !== undefined)
      return (
        addresses.includes(address) ||
        matches({ address, vendor: { id: '' }, device: { id: '' }, group: null } as PciDevice)
      )
    const source = child(each, 'source')
    const half = (name: string): string =>
      parseNumber(attribute(child(source, name), 'id'))
        .toString(16)
        .padStart(4, '0')
    return attribute(each, 'type') === 'usb' && `${half('vendor')}:${half('product')}` === id
  })
  if (gone.length === 0) return undefined
  const left = [...gone].reverse().reduce(removeElement, text)
  return gone.reduce((result, hostdev) => {
    const bus = parseNumber(attribute(child(hostdev, 'address'), 'bus'))
    if (elementsOnBus(result, bus).length > 0) return result
    const port = childrenOf(devicesOf(result), 'controller').find(
      (each) =>
        attribute(child(each, 'alias'), 'name')?.startsWith(PORT_ALIAS) &&
        parseNumber(attribute(each, 'index')) === bus,
    )
    return port === undefined ? result : removeElement(result, port)
  }, left)
}

/** What `--headless` takes away: what shows and feeds the screen of an installation, and its media. */
function isForInstallation(element: ParsedElement): boolean {
  const type = attribute(element, 'type')
  switch (element.name) {
    case 'graphics':
      return true
    case 'channel':
    case 'redirdev':
    case 'smartcard':
      return type === 'spicevmc'
    case 'input':
      return type === 'tablet'
    case 'disk':
      return attribute(element, 'device') === 'cdrom'
    case 'video':
      return attribute(child(element, 'model'), 'type') !== 'none'
    default:
      return false
  }
}

/** Sound that went to SPICE goes nowhere; sound cards may name its element, so it stays. */
function silenceSpice(text: string): string {
  const spice = childrenOf(devicesOf(text), 'audio').find((each) => attribute(each, 'type') === 'spice')
  return spice === undefined ? text : setAttribute(text, spice, 'type', 'none')
}

export function patchHeadless(text: string): string {
  const found = devicesOf(text)?.children.filter(isForInstallation) ?? []
  const left = silenceSpice([...found].reverse().reduce(removeElement, text))
  const video = childrenOf(devicesOf(left), 'video').length > 0
  return video ? left : addDevices(left, [xmlElement('video', {}, xmlElement('model', { type: 'none' }))])
}

/** Adds a device unless there is one that says all that `identity` says. */
export function addIfMissing(text: string, required: XmlElement, identity: XmlElement): string {
  return childrenOf(devicesOf(text), required.name).some((each) => matchesElement(each, identity))
    ? text
    : addDevices(text, [required])
}

/** Empty attributes say nothing. */
function matchesElement(element: ParsedElement, { attributes, children }: XmlElement): boolean {
  return (
    Object.entries(attributes).every(([name, value]) => value === '' || attribute(element, name) === String(value)) &&
    children.every((each) => childrenOf(element, each.name).some((inner) => matchesElement(inner, each)))
  )
}

/** A disk by its source, under the next free name of its bus. */
export function addDisk(text: string, disk: Disk): string {
  const disks = childrenOf(devicesOf(text), 'disk')
  const source = (each: ParsedElement): string | undefined =>
    attribute(child(each, 'source'), 'file') ?? attribute(child(each, 'source'), 'dev')
  if (disks.some((each) => source(each) === disk.path)) return text
  const bound = disks.map((each) => attribute(child(each, 'target'), 'dev'))
  const prefix = disk.bus === 'virtio' ? 'vd' : 'sd'
  const name = [...'abcdefghijklmnopqrstuvwxyz'].map((letter) => prefix + letter).find((each) => !bound.includes(each))
  return addDevices(text, [diskElement(disk, name ?? `${prefix}z`, false)])
}
