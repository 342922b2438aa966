import { parseSelector } from '../../bind/select.ts'
import { UserError } from '../../core/error.ts'
import { type Remarks, supports } from '../../core/versions.ts'
import { hiddenFromQemu } from '../../host/apparmor.ts'
import { readVfioInterfaces, type VfioInterfaces } from '../../host/kernel.ts'
import { cardOf, isDisplay, type PciDevice, slotOf } from '../../host/pci.ts'
import type { Arguments } from '../../terminal/options.ts'
import { flagOption, listOption, pathValue, valueOption } from '../guest-arguments.ts'
import { decideIommufd, IOMMUFD, type IommufdUse } from '../iommufd.ts'
import {
  addCard,
  aliasOf,
  cardHostdevs,
  FIRST_SLOT,
  GPU_ALIAS,
  type GuestCard,
  rootPort,
} from '../libvirt/card-hostdevs.ts'
import { cardNotes, hostAddressOf, plainNotes, showRoms } from '../libvirt/pci-hostdevs.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { decideInterface } from '../network-functions.ts'
import { cardSettings } from '../proxmox/card-settings.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { BoardFacts, GuestDevice } from './guest-device.ts'
import { isIgd } from './igd.ts'

// PCI devices of the host. Each is behind a root port of its own (q35), or on a slot of the one bus (i440fx).

export interface DecidedCards {
  cards: GuestCard[]
  iommufd: IommufdUse
}

export const cardDevices: GuestDevice<{ vfio: VfioInterfaces }, DecidedCards> = {
  options: [
    listOption('gpu', 'DEVICE', 'a graphics card: 01:00 is the slot with all its functions'),
    listOption('pci', 'DEVICE', 'any other PCI device: a NIC, an NVMe drive, a whole USB controller'),
    listOption('vf', 'CARD', 'a free virtual function (SR-IOV) of this card; several times, if need be'),
    valueOption('rom', 'FILE', "the card's ROM"),
    flagOption('x-vga', 'legacy VGA through the card, for BIOS guests'),
    flagOption('iommufd', 'the cards go through iommufd instead of VFIO groups'),
  ],
  forNew: ['x-vga'],
  read: ({ reader }) => ({ vfio: readVfioInterfaces(reader) }),
  decide(given, facts, remarks) {
    const cards = decideCards(given, facts, remarks)
    remarks.notes.push(...facts.requested.notes)
    const all = [...facts.requested.gpus, ...facts.requested.others]
    const iommufd = decideIommufd(
      given,
      facts.vfio,
      { ...facts, cards: cards.length + (all.some(isIgd) ? 1 : 0) },
      remarks,
    )
    return { cards: cards.map((card) => ({ ...card, iommufd: iommufd === 'device' })), iommufd }
  },
  files: (given) => ({ images: given.list('rom') }),
  warnings: ({ files, reader }, given) =>
    given
      .list('rom')
      .filter((rom) => (given.value('format') ?? 'libvirt') === 'libvirt' && hiddenFromQemu(files, reader, rom))
      .map((rom) => `${rom}: AppArmor keeps it from QEMU, which then finds no romfile; move it to /usr/share/vgabios`),
  xml({ cards, chipset }, versions) {
    const q35 = chipset === 'q35'
    return cards.flatMap((card, index) => {
      const place = q35 ? { bus: index + 1, slot: 0 } : { bus: 0, slot: FIRST_SLOT + index }
      const hostdevs = cardHostdevs(card, place, aliasOf(card, versions))
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
      ...cards.flatMap(({ functions, network }) => {
        const addresses = functions.map(({ address }) => address)
        return [...cardNotes(added, addresses), ...(network === null ? [] : plainNotes(added, addresses))]
      }),
    )
    return added
  },
  removes(element, named, addresses) {
    const address = hostAddressOf(element)
    const known = { address, vendor: { id: '' }, device: { id: '' }, group: null } as PciDevice
    return address !== undefined && (addresses.includes(address) || parseSelector(named).matches(known))
  },
  // Only for libvirt before 8.2, which has no element for it (`overrides`).
  passedOn: ({ cards }, versions) =>
    cards.some(({ xVga }) => xVga) && !supports(versions, 'override')
      ? ['-set', `device.${supports(versions, 'aliases') ? GPU_ALIAS : 'hostdev0'}.x-vga=on`]
      : [],
  overrides({ cards }) {
    if (!cards.some(({ xVga }) => xVga)) return []
    const property = xmlElement('qemu:property', { name: 'x-vga', type: 'bool', value: 'true' })
    return [xmlElement('qemu:device', { alias: GPU_ALIAS }, xmlElement('qemu:frontend', {}, property))]
  },
  proxmox: ({ cards, chipset }, target) => cardSettings(cards, chipset, target),
  qemu: ({ cards, iommufd, chipset }) => [
    ...(iommufd === null ? [] : [['-object', `iommufd,id=${IOMMUFD}`]]),
    ...cards.flatMap((card, index) => cardArguments(card, index, chipset === 'q35', iommufd !== null)),
  ],
}

/** Groups the devices into cards: one for each slot of the host; a virtual function is a card of its own. */
function decideCards(
  given: Arguments,
  { requested: { gpus, others, networks }, firmware, format }: BoardFacts,
  remarks: Remarks,
): Omit<GuestCard, 'iommufd'>[] {
  const { reasons } = remarks
  const [rom, xVga] = [pathValue(given, 'rom'), given.flag('x-vga')]
  // A ROM is the integrated GPU's where there is one: that does not go without.
  const integrated = [...gpus, ...others].some(isIgd)
  const cards = new Map<string, PciDevice[]>()
  // A card's display is function 0, whatever the bus that its audio has on the host.
  const ordered = [...gpus, ...others].sort(
    (one, other) => Number(slotOf(one.address) !== cardOf(one)) - Number(slotOf(other.address) !== cardOf(other)),
  )
  for (const device of ordered.filter((each) => !isIgd(each)))
    cards.set(cardOf(device), [...(cards.get(cardOf(device)) ?? []), device])
  if (rom !== undefined && gpus.length === 0 && !integrated) throw new UserError('usage', '--rom goes with --gpu')
  if (xVga && gpus.length === 0) throw new UserError('usage', '--x-vga goes with --gpu')
  // Proxmox tells QEMU of it for BIOS guests alone, and takes the virtual display away for others.
  if (xVga && firmware.kind !== 'bios' && format !== 'proxmox')
    throw new UserError(
      'usage',
      "--x-vga is for BIOS guests: under UEFI the card's own UEFI driver shows the picture, and no legacy VGA is used; leave it out, or add --firmware bios",
    )
  const [display] = gpus.filter((device) => isDisplay(device) && !integrated)
  const isDrive = (device: PciDevice): boolean => device.class.id.startsWith('0108')
  const first = [...cards.values()].find((functions) => functions.some(isDrive))
  return [...cards.values()].map((functions) => {
    const addresses = functions.map(({ address }) => address)
    const network = networks.find(({ address }) => addresses.includes(address))
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
      network: network === undefined ? null : decideInterface(network, format, remarks),
    }
  })
}

function cardArguments(
  { functions, xVga, boot }: GuestCard,
  index: number,
  q35: boolean,
  iommufd: boolean,
): string[][] {
  const port = ['-device', `pcie-root-port,id=card${index},bus=pcie.0,chassis=${index + 1}`]
  const at = q35 ? `bus=card${index},addr=0x0` : `bus=pci.0,addr=0x${(FIRST_SLOT + index).toString(16)}`
  const devices = functions.map(({ address, rom }, fn) => [
    '-device',
    [
      `vfio-pci,host=${address},${at}.${fn}`,
      ...(iommufd ? [`iommufd=${IOMMUFD}`] : []),
      ...(functions.length > 1 && fn === 0 ? ['multifunction=on'] : []),
      ...(xVga && fn === 0 ? ['x-vga=on'] : []),
      ...(boot && fn === 0 ? ['bootindex=1'] : []),
      ...(rom === null ? [] : [`romfile=${escapeCommas(rom)}`]),
    ].join(','),
  ])
  return q35 ? [port, ...devices] : devices
}
