import { type Remarks, supports } from '../../core/versions.ts'
import type { GuestFacts } from '../decide.ts'
import type { Guest, GuestCard } from '../guest.ts'
import { decideWindow } from '../window.ts'
import { addressBitsElement } from './cpu-xml.ts'
import { attribute, child, childrenOf, elementText, setAttribute } from './edit-document.ts'
import { addressingArguments, QEMU_NAMESPACE } from './guest-xml.ts'
import { memoryKibOf, parseDomain } from './patch.ts'
import { hostAddressOf } from './patch-devices.ts'
import { renderElements, xmlElement } from './xml-element.ts'

// What a domain that somebody has already says of cards, and what goes against it.

/**
 * What the domain lacks for the cards' BARs, and for an IOMMU that reaches less far than the CPU. Said and not written:
 * what is written with a card would have to go with it again, and nothing marks such lines as ours.
 */
export function windowNotes(
  text: string,
  { window: facts, hypervisor, versions }: GuestFacts,
  firmware: Guest['firmware'],
): string[] {
  const root = parseDomain(text)
  const loader = child(root, 'os', 'loader')
  const code = loader === undefined ? undefined : elementText(text, loader)
  const images = hypervisor.uefiImages ?? []
  const image = images.find((each) => each.code === code) ?? (code === undefined ? images[0] : undefined)
  const hostCpu = attribute(child(root, 'cpu'), 'mode') === 'host-passthrough'
  const guest = { firmware, edk2: image?.edk2 ?? null, hostCpu, memoryKib: memoryKibOf(text) ?? null, taints: false }
  const remarks: Remarks = { reasons: [], notes: [] }
  const decided = decideWindow(facts, guest, remarks)
  const mmio64Mib = text.includes('X-PciMmio64Mb') ? null : decided.mmio64Mib
  const addressBits = /<maxphysaddr|phys-bits/.test(text) ? null : decided.addressBits
  const args = addressingArguments({ mmio64Mib, addressBits, cpuModel: 'host-passthrough' }, versions)
  const element =
    addressBits !== null && supports(versions, 'addressBits') ? renderElements([addressBitsElement(addressBits)]) : null
  const lines = args.map((value) => renderElements([xmlElement('qemu:arg', { value })])).join('')
  return [
    ...(decided.mmio64Mib === null ? remarks.notes : []),
    ...(addressBits === null ? [] : [`the IOMMU reaches ${addressBits} address bits, fewer than the CPU`]),
    ...(mmio64Mib === null ? [] : ["OVMF's 64-bit window does not hold the cards"]),
    ...(element === null ? [] : [`so add by hand in <cpu>: ${element}`]),
    ...(args.length === 0
      ? []
      : [
          `so add by hand, with xmlns:qemu='${QEMU_NAMESPACE}' in <domain>: <qemu:commandline>${lines}</qemu:commandline>; libvirt marks the guest as tainted for it`,
        ]),
  ]
}

/** A ROM that a file is set for is one that the guest shall see. */
export function showRoms(text: string, cards: readonly GuestCard[], { notes }: Remarks): string {
  const roms = new Set(cards.flatMap(({ functions }) => functions.flatMap((each) => (each.rom ? [each.address] : []))))
  const hidden = [
    ['bar', 'off', 'on'],
    ['enabled', 'no', 'yes'],
  ] as const
  const show = (name: string, from: string, to: string, result: string): string => {
    const found = hostdevElements(result).find(
      (each) => roms.has(hostAddressOf(each) ?? '') && attribute(child(each, 'rom'), name) === from,
    )
    const rom = child(found, 'rom')
    if (found === undefined || rom === undefined) return result
    notes.push(`${hostAddressOf(found)}: its ROM was hidden from the guest (${name}='${from}'), and is shown now`)
    return show(name, from, to, setAttribute(result, rom, name, to))
  }
  return hidden.reduce((result, [name, from, to]) => show(name, from, to, result), text)
}

/** What the domain does with these cards that a person may not know of. */
export function cardNotes(text: string, cards: readonly GuestCard[]): string[] {
  const hostdevs = new Map(hostdevElements(text).map((each) => [hostAddressOf(each), each]))
  return cards.flatMap(({ functions }) => {
    const own = functions.flatMap(({ address }) => {
      const element = hostdevs.get(address)
      return element === undefined ? [] : [{ address, element }]
    })
    const unmanaged = own.filter(({ element }) => attribute(element, 'managed') !== 'yes').map(({ address }) => address)
    const slots = new Set(
      own.map(({ element }) => {
        const address = child(element, 'address')
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
            `${own.map(({ address }) => address).join(', ')}: on ${slots.size} slots of the guest, where drivers may not find the parts of one card; --remove it and add it again in one run after the other`,
          ]),
    ]
  })
}

function hostdevElements(text: string) {
  return childrenOf(child(parseDomain(text), 'devices'), 'hostdev')
}
