import type { Remarks } from '../../core/versions.ts'
import type { ParsedElement } from './document.ts'
import { attribute, child, childrenOf, insertElements, setAttribute } from './edit-document.ts'
import { devicesOf, parseDomain } from './edit-domain.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// The PCI devices of an existing domain.

/** A card's place in the guest; `free` are the unused functions of its slot, where some are in use. */
export interface GuestSlot {
  bus: number
  slot: number
  free?: readonly number[]
}

/**
 * Returns the host's address of a PCI hostdev, or of an interface that is a virtual function: `0000:01:00.0`;
 * `undefined` for other elements. A running guest's interface says in <actual> what its network gave it.
 */
export function hostAddressOf(element: ParsedElement): string | undefined {
  const network = element.name === 'interface'
  const source = child(network ? (child(element, 'actual') ?? element) : element, 'source', 'address')
  if (source === undefined || attribute(network ? source : element, 'type') !== 'pci') return undefined
  return pciAddressOf(source)
}

/** Returns what an <address> of libvirt's says in four parts: `0000:01:00.0`. */
export function pciAddressOf(source: ParsedElement): string {
  const field = (name: string, digits: number): string =>
    Number(attribute(source, name) ?? '0')
      .toString(16)
      .padStart(digits, '0')
  return `${field('domain', 4)}:${field('bus', 2)}:${field('slot', 2)}.${field('function', 1)}`
}

/** Returns the devices of a domain that are the host's PCI functions. */
export function hostFunctionsOf(devices: ParsedElement | undefined): ParsedElement[] {
  return devices?.children.filter((each) => hostAddressOf(each) !== undefined) ?? []
}

/** Returns the elements that have an address on the guest's PCI bus of that number. */
export function elementsOnBus(text: string, bus: number): ParsedElement[] {
  return (devicesOf(text)?.children ?? []).filter((each) => guestBusOf(each) === bus)
}

/** Returns the guest's PCI bus that an element is on; NaN for one that has no such address. */
function guestBusOf(element: ParsedElement): number {
  const address = child(element, 'address')
  return attribute(address, 'type') === 'pci' ? Number(attribute(address, 'bus') ?? Number.NaN) : Number.NaN
}

/** Finds a free place. Bus 1 and up are behind a root port that must still be made; `first` is i440fx's first slot. */
export function freeSlot(text: string, first: number): GuestSlot {
  const devices = devicesOf(text)?.children ?? []
  const machine = attribute(child(parseDomain(text), 'os', 'type'), 'machine') ?? 'pc'
  const express =
    /q35|virt/.test(machine) || devices.some((each) => (attribute(each, 'model') ?? '').startsWith('pcie-'))
  if (!express) {
    const used = elementsOnBus(text, 0).map((each) => Number(attribute(child(each, 'address'), 'slot')))
    const slots = Array.from({ length: 15 }, (_, index) => first + index)
    return { bus: 0, slot: slots.find((each) => !used.includes(each)) ?? 0x1e }
  }
  const used = devices.flatMap((each) => [
    each.name === 'controller' && attribute(each, 'type') === 'pci' ? Number(attribute(each, 'index')) : 0,
    guestBusOf(each),
  ])
  return { bus: Math.max(0, ...used.filter(Number.isFinite)) + 1, slot: 0 }
}

/** Shows the guest the ROMs of the functions at these addresses: a ROM with a file set is meant to be seen. */
export function showRoms(text: string, addresses: readonly string[], { notes }: Remarks): string {
  const hidden = [
    ['bar', 'off', 'on'],
    ['enabled', 'no', 'yes'],
  ] as const
  return addresses.reduce(
    (shown, address) =>
      hidden.reduce((result, [name, from, to]) => {
        const hostdev = childrenOf(devicesOf(result), 'hostdev').find((each) => hostAddressOf(each) === address)
        const rom = child(hostdev, 'rom')
        if (rom === undefined || attribute(rom, name) !== from) return result
        notes.push(`${address}: its ROM was hidden from the guest (${name}='${from}'), and is shown now`)
        return setAttribute(result, rom, name, to)
      }, shown),
    text,
  )
}

/** Returns notes on what the domain does with a card's functions and a person may not know. */
export function cardNotes(text: string, addresses: readonly string[]): string[] {
  const own = hostFunctionsOf(devicesOf(text)).filter((each) => addresses.includes(hostAddressOf(each) ?? ''))
  const unmanaged = own.filter((each) => attribute(each, 'managed') !== 'yes').map(hostAddressOf)
  const slots = new Set(
    own.map((each) => {
      const address = child(each, 'address')
      return ['domain', 'bus', 'slot'].map((name) => Number(attribute(address, name) ?? 0)).join(':')
    }),
  )
  return [
    ...(unmanaged.length === 0
      ? []
      : [
          `${unmanaged.join(', ')}: not managed='yes' in the domain, so libvirt takes no driver off: bind-vfio must have bound it before the guest starts`,
        ]),
    ...(slots.size < 2
      ? []
      : [
          `${own.map(hostAddressOf).join(', ')}: on ${slots.size} slots of the guest, where drivers may not find the parts of one card; --remove it and add it again in one run after the other`,
        ]),
  ]
}

/** Returns notes on virtual functions of network cards that the domain has as plain devices. */
export function plainNotes(text: string, addresses: readonly string[]): string[] {
  return childrenOf(devicesOf(text), 'hostdev')
    .flatMap((each) => hostAddressOf(each) ?? [])
    .filter((address) => addresses.includes(address))
    .map(
      (address) =>
        `${address}: a plain device in the domain, for which libvirt sets no MAC address and no VLAN; --remove it and add it again in one run after the other`,
    )
}

/** Gives the hostdev of a function what it lacks: its ROM's file, and iommufd where it is to go through that. */
export function completeHostdev(text: string, address: string, rom: string | null, iommufd: boolean): string {
  const find = (each: string): ParsedElement | undefined =>
    hostFunctionsOf(devicesOf(each)).find((one) => hostAddressOf(one) === address)
  const withFile =
    rom === null ? text : ensureIn(text, find, xmlElement('rom', { file: rom }), ['source', 'boot', 'alias'])
  return iommufd ? ensureIn(withFile, find, iommufdDriver(), []) : withFile
}

/** Returns the element by which one hostdev goes through iommufd (libvirt 12.1). */
export function iommufdDriver(): XmlElement {
  return xmlElement('driver', { iommufd: 'yes' })
}

/** Makes the element that `find` finds have this child, with these attributes; a new one comes behind `after`. */
function ensureIn(
  text: string,
  find: (text: string) => ParsedElement | undefined,
  required: XmlElement,
  after: readonly string[],
): string {
  const parent = find(text)
  if (parent === undefined) return text
  const known = child(parent, required.name)
  if (known === undefined) return insertElements(text, parent, [required], after)
  return Object.entries(required.attributes).reduce((result, [name, value]) => {
    const present = child(find(result), required.name)
    return present === undefined || attribute(present, name) === value
      ? result
      : setAttribute(result, present, name, String(value))
  }, text)
}
