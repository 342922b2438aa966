import { type Remarks, supports } from '../../core/versions.ts'
import type { GuestFacts } from '../decide.ts'
import type { GuestFirmware } from '../guest.ts'
import { decideWindow } from '../window.ts'
import { attribute, child, elementText } from './edit-document.ts'
import { parseDomain } from './edit-domain.ts'
import { addressingArguments } from './guest-xml.ts'
import { memoryKibOf } from './patch.ts'
import { addressBitsElement } from './resource-xml.ts'
import { QEMU_NAMESPACE, renderElements, xmlElement } from './xml-element.ts'

/**
 * Returns notes on what the domain lacks for the cards' BARs, and for an IOMMU that reaches less far than the CPU. It
 * is not written: what is written for a card would have to be removed with it, and nothing marks such lines as ours.
 */
export function windowNotes(
  text: string,
  { window: facts, hypervisor, versions }: GuestFacts,
  firmware: GuestFirmware,
): string[] {
  const root = parseDomain(text)
  const loader = child(root, 'os', 'loader')
  const code = loader === undefined ? undefined : elementText(text, loader)
  const images = hypervisor.uefiImages ?? []
  const image = images.find((each) => each.code === code) ?? (code === undefined ? images[0] : undefined)
  const hostCpu = attribute(child(root, 'cpu'), 'mode') === 'host-passthrough'
  const guest = {
    firmware,
    edk2: image?.edk2 ?? null,
    hostCpu,
    memoryKib: memoryKibOf(text) ?? null,
    taints: false,
    libvirt: true,
  }
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
