import { supports, type Versions } from '../../core/versions.ts'
import type { InterfaceOfGuest } from '../network-functions.ts'
import type { ParsedElement } from './document.ts'
import { attribute, child, childrenOf, removeElement, setAttribute } from './edit-document.ts'
import { addDevices, devicesOf } from './edit-domain.ts'
import {
  completeHostdev,
  elementsOnBus,
  freeSlot,
  type GuestSlot,
  hostAddressOf,
  hostFunctionsOf,
  iommufdDriver,
} from './pci-hostdevs.ts'
import { type XmlElement, xmlElement } from './xml-element.ts'

// The host's cards as libvirt has them: hostdevs on one slot, and the root port above.

/** The functions of a host's card, on one slot of the guest. */
export interface GuestCard {
  functions: { address: string; rom: string | null }[]
  /** Has the guest legacy VGA through this card (BIOS guests)? */
  xVga: boolean
  /** Does the guest boot from this card, an NVMe drive, since it has no disk? */
  boot: boolean
  /** What libvirt sets while the guest has it: a virtual function of a network card. `null`: a plain device. */
  network: InterfaceOfGuest | null
  /** Is it said of each of its functions that they go through iommufd? */
  iommufd: boolean
}

/** The first slot of i440fx that neither libvirt nor QEMU gives away by itself. */
export const FIRST_SLOT = 0x10

/** The beginnings of the aliases that are ours; libvirt keeps them. */
export const GPU_ALIAS = 'ua-vfio-gpu'
const PORT = 'ua-vfio-port-'

/** Returns a card's root port, named `ua-vfio-port-0000-01-00-0` by its first function (libvirt 3.9 and later). */
export function rootPort({ functions: [first] }: GuestCard, port: number, versions: Versions): XmlElement {
  return xmlElement(
    'controller',
    { type: 'pci', index: port, model: 'pcie-root-port' },
    supports(versions, 'aliases') &&
      first !== undefined &&
      xmlElement('alias', { name: PORT + first.address.replace(/[:.]/g, '-') }),
  )
}

const hexByte = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`

/** Returns the host's address `0000:01:00.0` as libvirt writes it. */
function hostAddress(address: string, type: 'pci' | null = null): XmlElement {
  const [domain, bus, slot, fn] = address.split(/[:.]/).map((part) => `0x${part}`)
  return xmlElement('address', { type, domain, bus, slot, function: fn })
}

/** Returns the hostdevs of a card's functions, on one slot, in the host's order; a single one is function 0. */
export function cardHostdevs(card: GuestCard, { bus, slot, free }: GuestSlot, alias: boolean): XmlElement[] {
  return card.functions.map(({ address, rom }, index) => {
    // Function 0 must be there for a guest to look at the others.
    const fn = free === undefined ? index : (free[index] ?? 7)
    const place = xmlElement('address', {
      type: 'pci',
      domain: '0x0000',
      bus: hexByte(bus),
      slot: hexByte(slot),
      function: `0x${fn}`,
      multifunction: free === undefined && index === 0 && card.functions.length > 1 ? 'on' : null,
    })
    if (card.network !== null) return networkInterface(card, card.network, address, place)
    return xmlElement(
      'hostdev',
      { mode: 'subsystem', type: 'pci', managed: 'yes' },
      card.iommufd && iommufdDriver(),
      xmlElement('source', {}, hostAddress(address)),
      card.boot && index === 0 && xmlElement('boot', { order: 1 }),
      card.xVga && index === 0 && alias && xmlElement('alias', { name: GPU_ALIAS }),
      rom !== null && xmlElement('rom', { file: rom }),
      place,
    )
  })
}

/** Returns the interface by which a guest has a virtual function of a network card. */
function networkInterface(
  { iommufd }: GuestCard,
  { mac, vlan }: InterfaceOfGuest,
  address: string,
  place: XmlElement,
): XmlElement {
  return xmlElement(
    'interface',
    { type: 'hostdev', managed: 'yes' },
    mac !== null && xmlElement('mac', { address: mac }),
    iommufd && iommufdDriver(),
    xmlElement('source', {}, hostAddress(address, 'pci')),
    vlan !== null && xmlElement('vlan', {}, xmlElement('tag', { id: vlan })),
    place,
  )
}

/** Returns the element by which libvirt (8.2) gives a card legacy VGA; `null` where no card gets it so. */
export function xVgaOverride(cards: readonly GuestCard[], versions: Versions): XmlElement | null {
  if (!cards.some(({ xVga }) => xVga) || !supports(versions, 'override')) return null
  const property = xmlElement('qemu:property', { name: 'x-vga', type: 'bool', value: 'true' })
  const device = xmlElement('qemu:device', { alias: GPU_ALIAS }, xmlElement('qemu:frontend', {}, property))
  return xmlElement('qemu:override', {}, device)
}

/**
 * Completes the functions of a card that a domain has, and adds those that it lacks: beside the others, or else on a slot
 * of their own.
 */
export function addCard(text: string, card: GuestCard, versions: Versions): string {
  const completed = card.functions.reduce(
    (each, { address, rom }) => completeHostdev(each, address, rom, card.iommufd),
    text,
  )
  const known = new Map(hostFunctionsOf(devicesOf(text)).map((each) => [hostAddressOf(each), each]))
  const lacking = { ...card, boot: false, functions: card.functions.filter(({ address }) => !known.has(address)) }
  if (lacking.functions.length === 0) return completed
  const beside = card.functions
    .map(({ address }) => child(known.get(address), 'address'))
    .find((each) => each !== undefined)
  if (beside !== undefined) return addToSameSlot(completed, lacking, beside)
  const place = freeSlot(completed, FIRST_SLOT)
  const ported = place.bus === 0 ? completed : addDevices(completed, [rootPort(lacking, place.bus, versions)])
  return addDevices(ported, cardHostdevs(lacking, place, supports(versions, 'aliases')))
}

/** Adds functions to the slot of those that are there already; function 0 then says that there are more. */
function addToSameSlot(text: string, card: GuestCard, beside: ParsedElement): string {
  const [bus, slot] = [Number(attribute(beside, 'bus')), Number(attribute(beside, 'slot'))]
  const functionsOf = (result: string): Map<number, ParsedElement> =>
    new Map(
      elementsOnBus(result, bus)
        .flatMap((each) => child(each, 'address') ?? [])
        .filter((each) => Number(attribute(each, 'slot')) === slot)
        .map((each) => [Number(attribute(each, 'function')), each]),
    )
  const present = functionsOf(text)
  const free = [0, 1, 2, 3, 4, 5, 6, 7].filter((each) => !present.has(each))
  const added = addDevices(text, cardHostdevs(card, { bus, slot, free }, false))
  const first = functionsOf(added).get(0)
  return first === undefined || attribute(first, 'multifunction') === 'on'
    ? added
    : setAttribute(added, first, 'multifunction', 'on')
}

/** Removes the root port that a patch gave a card, when the card's last function is gone. */
export function removeEmptyPort(text: string, removed: ParsedElement): string {
  const bus = Number(attribute(child(removed, 'address'), 'bus') ?? Number.NaN)
  const port = childrenOf(devicesOf(text), 'controller').find(
    (each) => attribute(child(each, 'alias'), 'name')?.startsWith(PORT) && Number(attribute(each, 'index')) === bus,
  )
  return port === undefined || elementsOnBus(text, bus).length > 0 ? text : removeElement(text, port)
}
