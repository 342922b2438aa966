import { parseSelector } from '../../bind/select.ts'
import { UserError } from '../../core/error.ts'
import { type Remarks, supports, type Versions } from '../../core/versions.ts'
import { hiddenFromQemu } from '../../host/apparmor.ts'
import { cardOf, isDisplay, type PciDevice, slotOf } from '../../host/pci.ts'
import type { Arguments } from '../../terminal/options.ts'
import { flagOption, listOption, pathValue, valueOption } from '../guest-arguments.ts'
import type { ParsedElement } from '../libvirt/document.ts'
import { attribute, child, childrenOf, insertElements, removeElement, setAttribute } from '../libvirt/edit-document.ts'
import { addDevices, devicesOf } from '../libvirt/edit-domain.ts'
import { cardNotes, elementsOnBus, freeSlot, type GuestSlot, hostAddressOf, showRoms } from '../libvirt/pci-hostdevs.ts'
import { type XmlElement, xmlElement } from '../libvirt/xml-element.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { BoardFacts, GuestDevice } from './guest-device.ts'

// PCI devices of the host. Each is behind a root port of its own (q35), or on a slot of the one bus (i440fx).

/** The functions of a host's card, on one slot of the guest. */
interface GuestCard {
  functions: { address: string; rom: string | null }[]
  /** Has the guest legacy VGA through this card (BIOS guests)? */
  xVga: boolean
  /** Does the guest boot from this card, an NVMe drive, since it has no disk? */
  boot: boolean
}

export interface DecidedCards {
  cards: GuestCard[]
}

/** The first slot of i440fx that neither libvirt nor QEMU gives away by itself. */
const FIRST_SLOT = 0x10

export const cardDevices: GuestDevice<object, DecidedCards> = {
  options: [
    listOption('gpu', 'DEVICE', 'a graphics card: 01:00 is the slot with all its functions'),
    listOption('pci', 'DEVICE', 'any other PCI device: a NIC, an NVMe drive, a whole USB controller'),
    valueOption('rom', 'FILE', "the card's ROM"),
    flagOption('x-vga', 'legacy VGA through the card, for BIOS guests'),
  ],
  forNew: ['x-vga'],
  decide: (given, facts, remarks) => ({ cards: decideCards(given, facts, remarks) }),
  files: (given) => ({ images: given.list('rom') }),
  warnings: ({ files, reader }, given) =>
    given
      .list('rom')
      .filter((rom) => given.value('format') !== 'qemu' && hiddenFromQemu(files, reader, rom))
      .map((rom) => `${rom}: AppArmor keeps it from QEMU, which then finds no romfile; move it to /usr/share/vgabios`),
  xml({ cards, chipset }, versions) {
    const q35 = chipset === 'q35'
    return cards.flatMap((card, index) => {
      const place = q35 ? { bus: index + 1, slot: 0 } : { bus: 0, slot: FIRST_SLOT + index }
      const hostdevs = cardHostdevs(card, place, supports(versions, 'aliases'))
      return q35 ? [rootPort(card, place.bus, versions), ...hostdevs] : hostdevs
    })
  },
  patch(text, { cards }, versions, remarks) {
    const added = showRoms(
      cards.reduce((each, card) => addCard(each, card, versions), text),
      cards.flatMap(({ functions }) => functions.flatMap(({ address, rom }) => (rom === null ? [] : [address]))),
      remarks,
    )
    remarks.notes.push(
      ...cards.flatMap(({ functions }) =>
        cardNotes(
          added,
          functions.map(({ address }) => address),
        ),
      ),
    )
    return added
  },
  removes(element, named, addresses) {
    const address = hostAddressOf(element)
    const known = { address, vendor: { id: '' }, device: { id: '' }, group: null } as PciDevice
    return address !== undefined && (addresses.includes(address) || parseSelector(named).matches(known))
  },
  // Only for libvirt before 8.2, which has no element for it (`xVgaOverride`).
  passedOn: ({ cards }, versions) =>
    cards.some(({ xVga }) => xVga) && !supports(versions, 'override')
      ? ['-set', `device.${supports(versions, 'aliases') ? GPU : 'hostdev0'}.x-vga=on`]
      : [],
  qemu: ({ cards, chipset }) => cards.flatMap((card, index) => cardArguments(card, index, chipset === 'q35')),
}

/** Groups the devices into cards: one for each slot of the host; a virtual function is a card of its own. */
function decideCards(
  given: Arguments,
  { requested: { gpus, others }, firmware }: BoardFacts,
  { reasons }: Remarks,
): GuestCard[] {
  const [rom, xVga] = [pathValue(given, 'rom'), given.flag('x-vga')]
  const cards = new Map<string, PciDevice[]>()
  // A card's display is function 0, whatever the bus that its audio has on the host.
  const ordered = [...gpus, ...others].sort(
    (one, other) => Number(slotOf(one.address) !== cardOf(one)) - Number(slotOf(other.address) !== cardOf(other)),
  )
  for (const device of ordered) cards.set(cardOf(device), [...(cards.get(cardOf(device)) ?? []), device])
  if (rom !== undefined && gpus.length === 0) throw new UserError('usage', '--rom goes with --gpu')
  if (xVga && gpus.length === 0) throw new UserError('usage', '--x-vga goes with --gpu')
  if (xVga && firmware.kind !== 'bios') throw new UserError('usage', '--x-vga is for BIOS guests: add --firmware bios')
  const [display] = gpus.filter(isDisplay)
  const isDrive = (device: PciDevice): boolean => device.class.id.startsWith('0108')
  const first = [...cards.values()].find((functions) => functions.some(isDrive))
  return [...cards.values()].map((functions) => {
    const addresses = functions.map(({ address }) => address)
    const sameSlot = new Set(addresses.map(slotOf)).size === 1
    if (functions.length > 1)
      reasons.push(
        sameSlot
          ? `${addresses.join(', ')}: on one slot of the guest, as they are on the host`
          : `${addresses.join(', ')}: parts of one card behind its own switch, on one slot of the guest`,
      )
    return {
      functions: functions.map((device) => ({
        address: device.address,
        rom: device === display ? (rom ?? null) : null,
      })),
      xVga: xVga && functions.some((device) => device === display),
      boot: given.list('disk').length === 0 && functions === first,
    }
  })
}

/** The beginnings of the aliases that are ours; libvirt keeps them. */
const GPU = 'ua-vfio-gpu'
const PORT = 'ua-vfio-port-'

/** Returns a card's root port, named `ua-vfio-port-0000-01-00-0` by its first function (libvirt 3.9 and later). */
function rootPort({ functions: [first] }: GuestCard, port: number, versions: Versions): XmlElement {
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
function hostAddress(address: string): XmlElement {
  const [domain, bus, slot, fn] = address.split(/[:.]/).map((part) => `0x${part}`)
  return xmlElement('address', { domain, bus, slot, function: fn })
}

/** Returns the hostdevs of a card's functions, on one slot, in the host's order; a single one is function 0. */
function cardHostdevs(card: GuestCard, { bus, slot, free }: GuestSlot, alias: boolean): XmlElement[] {
  return card.functions.map(({ address, rom }, index) => {
    // Function 0 must be there for a guest to look at the others.
    const fn = free === undefined ? index : (free[index] ?? 7)
    return xmlElement(
      'hostdev',
      { mode: 'subsystem', type: 'pci', managed: 'yes' },
      xmlElement('source', {}, hostAddress(address)),
      card.boot && index === 0 && xmlElement('boot', { order: 1 }),
      card.xVga && index === 0 && alias && xmlElement('alias', { name: GPU }),
      rom !== null && xmlElement('rom', { file: rom }),
      xmlElement('address', {
        type: 'pci',
        domain: '0x0000',
        bus: hexByte(bus),
        slot: hexByte(slot),
        function: `0x${fn}`,
        multifunction: free === undefined && index === 0 && card.functions.length > 1 ? 'on' : null,
      }),
    )
  })
}

/** Returns the element by which libvirt (8.2) gives a card legacy VGA; `null` where no card gets it so. */
export function xVgaOverride({ cards }: DecidedCards, versions: Versions): XmlElement | null {
  if (!cards.some(({ xVga }) => xVga) || !supports(versions, 'override')) return null
  const property = xmlElement('qemu:property', { name: 'x-vga', type: 'bool', value: 'true' })
  const device = xmlElement('qemu:device', { alias: GPU }, xmlElement('qemu:frontend', {}, property))
  return xmlElement('qemu:override', {}, device)
}

function cardArguments({ functions, xVga, boot }: GuestCard, index: number, q35: boolean): string[][] {
  const port = ['-device', `pcie-root-port,id=card${index},bus=pcie.0,chassis=${index + 1}`]
  const at = q35 ? `bus=card${index},addr=0x0` : `bus=pci.0,addr=0x${(FIRST_SLOT + index).toString(16)}`
  const devices = functions.map(({ address, rom }, fn) => [
    '-device',
    [
      `vfio-pci,host=${address},${at}.${fn}`,
      ...(functions.length > 1 && fn === 0 ? ['multifunction=on'] : []),
      ...(xVga && fn === 0 ? ['x-vga=on'] : []),
      ...(boot && fn === 0 ? ['bootindex=1'] : []),
      ...(rom === null ? [] : [`romfile=${escapeCommas(rom)}`]),
    ].join(','),
  ])
  return q35 ? [port, ...devices] : devices
}

/** Adds the functions of a card that a domain lacks: beside those that it has, or else on a slot of their own. */
function addCard(text: string, card: GuestCard, versions: Versions): string {
  const known = new Map(childrenOf(devicesOf(text), 'hostdev').map((each) => [hostAddressOf(each), each]))
  const lacking = { ...card, boot: false, functions: card.functions.filter(({ address }) => !known.has(address)) }
  if (lacking.functions.length === 0) return card.functions.reduce(addRom, text)
  const beside = card.functions
    .map(({ address }) => child(known.get(address), 'address'))
    .find((each) => each !== undefined)
  if (beside !== undefined) return addToSameSlot(text, lacking, beside)
  const place = freeSlot(text, FIRST_SLOT)
  const ported = place.bus === 0 ? text : addDevices(text, [rootPort(lacking, place.bus, versions)])
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

function addRom(text: string, { address, rom }: GuestCard['functions'][number]): string {
  const hostdev = childrenOf(devicesOf(text), 'hostdev').find((each) => hostAddressOf(each) === address)
  if (rom === null || hostdev === undefined) return text
  const known = child(hostdev, 'rom')
  if (known === undefined)
    return insertElements(text, hostdev, [xmlElement('rom', { file: rom })], ['source', 'boot', 'alias'])
  return attribute(known, 'file') === rom ? text : setAttribute(text, known, 'file', rom)
}

/** Removes the root port that a patch gave a card, when the card's last function is gone. */
export function removeEmptyPort(text: string, removed: ParsedElement): string {
  const bus = Number(attribute(child(removed, 'address'), 'bus') ?? Number.NaN)
  const port = childrenOf(devicesOf(text), 'controller').find(
    (each) => attribute(child(each, 'alias'), 'name')?.startsWith(PORT) && Number(attribute(each, 'index')) === bus,
  )
  return port === undefined || elementsOnBus(text, bus).length > 0 ? text : removeElement(text, port)
}
