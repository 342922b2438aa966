import type { Buffer } from 'node:buffer'
import { hasResetProblem, judgeResets, readResetFacts } from '../bind/reset.ts'
import type { Finding } from '../core/finding.ts'
import { isExpress } from '../host/config-space.ts'
import { findKernelMessages } from '../host/kernel-messages.ts'
import { cardOf, isDisplay, isPciBridge, type PciDevice } from '../host/pci.ts'
import type { CheckFacts } from './check-facts.ts'
import { okFinding, problemFinding, unknownFinding } from './say.ts'

/** Does the card share its group, and which slot would be better? */
export function checkGroups({ pci }: CheckFacts, selected: readonly PciDevice[]): Finding {
  const code = 'groups'
  const cards = new Set(selected.map(cardOf))
  const mixed = pci.groups.filter(
    ({ devices }) =>
      devices.some((device) => cards.has(cardOf(device))) &&
      devices.some((device) => !device.bridge && !cards.has(cardOf(device))),
  )
  const [first] = mixed
  if (first === undefined) return okFinding(code, 'The card shares its IOMMU group with no other card')
  const mates = first.devices.filter((device) => !device.bridge && !cards.has(cardOf(device)))
  const bound = new Set(pci.devices.map(({ parent }) => parent))
  // A card behind a port that is alone in its group gets a group of its own, or that of the port.
  const slots = pci.groups
    .filter(({ devices }) => devices.length === 1 && devices.every((device) => isRootPort(device)))
    .flatMap(({ devices }) => devices.map(({ address }) => address))
    .filter((address) => !bound.has(address))
  const better =
    slots.length === 0
      ? 'another slot may help: those of the CPU often have groups of their own'
      : `the slots below ${slots.join(', ')} are empty and in groups of their own`
  return problemFinding(
    code,
    `IOMMU group ${first.id} holds other cards: they would go along`,
    mates.map(({ address, class: type }) => `${address} (${type.name ?? type.id})`),
    better,
  )
}

function isRootPort(device: PciDevice): boolean {
  return isPciBridge(device) && device.parent === null
}

export function checkCardResets({ pci, log, host: { machine } }: CheckFacts, selected: readonly PciDevice[]): Finding {
  const cards = judgeResets(pci.devices, selected, readResetFacts(machine, pci.devices, selected, log), true)
  const bad = cards.filter((card) => card.verdict === 'none' || hasResetProblem(card))
  if (bad.length > 0)
    return problemFinding(
      'reset',
      'The card does not come back when its guest stops',
      bad.map(({ reason }) => reason),
      'check-reset says more',
    )
  const open = cards.filter(({ verdict }) => verdict === 'unknown' || verdict === 'quirk')
  if (open.length > 0)
    return unknownFinding(
      'reset',
      'Whether the card comes back when its guest stops is not certain',
      open.map(({ reason }) => reason),
    )
  return okFinding(
    'reset',
    'The card can be reset',
    cards.map(({ reason }) => reason),
  )
}

/** What the kernel said of the card since the boot. */
export function checkDeviceLog(
  { log, logMissing }: Pick<CheckFacts, 'log' | 'logMissing'>,
  selected: readonly PciDevice[],
): Finding {
  const code = 'device-log'
  if (log === null) return unknownFinding(code, 'What the kernel log says of the card was not seen', [logMissing])
  const said = findKernelMessages(log).filter(({ address }) => selected.some((device) => device.address === address))
  if (said.length === 0) return okFinding(code, 'The kernel log says nothing against the card')
  return problemFinding(
    code,
    'The kernel log speaks against the card',
    said.map(({ line }) => line),
    [...new Set(said.map(({ next }) => next))].join('; '),
  )
}

const FRAMEBUFFERS = /efifb|vesafb|simplefb|simple-framebuffer|simpledrm|BOOTFB/

/** A framebuffer of the firmware keeps memory of the card busy: QEMU says `BAR 0: can't reserve`. */
export function checkFramebuffer({ host: { machine } }: CheckFacts, selected: readonly PciDevice[]): Finding {
  const code = 'framebuffer'
  if (!selected.some(isDisplay)) return okFinding(code, 'No graphics card is asked for')
  const lines = (machine.optionalBytes('/proc/iomem')?.toString('latin1') ?? '').split('\n')
  const depth = (line: string): number => /^ */.exec(line)?.[0].length ?? 0
  const held = lines.flatMap((line, index) => {
    if (!FRAMEBUFFERS.test(line)) return []
    const above = lines.slice(0, index).reverse()
    const owner = above.find((one) => depth(one) < depth(line) && selected.some(({ address }) => one.includes(address)))
    return owner === undefined ? [] : [`/proc/iomem: ${line.trim()}, within ${owner.trim()}`]
  })
  if (held.length > 0)
    return problemFinding(
      code,
      "The firmware's framebuffer holds the card",
      held,
      'let the host show its console on another card (firmware setup), or add initcall_blacklist=sysfb_init, and look again after the reboot',
    )
  if (lines.length < 2) return unknownFinding(code, 'Who holds the memory of the card was not seen', ['/proc/iomem'])
  return okFinding(code, "No framebuffer of the firmware's holds the card")
}

/** Behind such a bridge there are no messages: all share one interrupt line, which VFIO cannot share. */
export function checkInterruptLines({ pci, host: { machine } }: CheckFacts, selected: readonly PciDevice[]): Finding {
  const code = 'shared-interrupts'
  const below = selected.filter(({ parent }) =>
    pci.devices.some((above) => above.address === parent && isPciBridge(above)),
  )
  const kinds = new Map(below.map((device) => [device, isExpress(machine, device)]))
  const open = below.filter((device) => kinds.get(device) === null)
  // A kernel that tells it of any device tells it of all.
  const reported = open.length > 0 && pci.devices.some((device) => machine.exists(`${device.path}/current_link_speed`))
  const behind = below.filter((device) => kinds.get(device) === false || (reported && kinds.get(device) === null))
  if (behind.length > 0)
    return problemFinding(
      code,
      'The card is behind a bridge to conventional PCI, where interrupt lines are shared',
      behind.map(({ address, parent }) => `${address} is below ${parent}`),
      'where the guest hangs or the device is refused: another slot, or a PCI Express card',
    )
  if (open.length > 0 && !reported)
    return unknownFinding(
      code,
      'Whether the card shares its interrupt line was not seen',
      open.map(({ path }) => `${path}/config: cut short`),
      'run as root',
    )
  return okFinding(code, 'Interrupts of the card are its own')
}

/** IORESOURCE_ROM_SHADOW in include/linux/ioport.h */
const ROM_SHADOW = 2n

/** The ROM of the card that shows the console may be the copy in memory, which the firmware has changed. */
export function checkRom({ host: { machine } }: CheckFacts, selected: readonly PciDevice[]): Finding {
  const shadow = selected.filter(({ path, bootVga }) => {
    const flags = machine.optionalText(`${path}/resource`)?.split('\n')[6]?.split(' ')[2]
    return bootVga === true && flags !== undefined && (BigInt(flags) & ROM_SHADOW) !== 0n
  })
  if (shadow.length === 0) return okFinding('rom', "No card's ROM is a copy in memory")
  return problemFinding(
    'rom',
    "The card's ROM is a shadow copy that the firmware has changed",
    shadow.map(({ path }) => `${path}/rom`),
    'give the guest a ROM file that was read while another card showed the console (gen-domain --rom FILE)',
  )
}

/**
 * What an expansion ROM holds: images one behind the other, each with its code type.
 * Source: PCI Firmware Specification 3.0, 5.1 (signature 55AA, PCIR, code type 3 is UEFI).
 */
export function romImages(data: Buffer): { vendor: string; device: string; type: number }[] {
  const images: { vendor: string; device: string; type: number }[] = []
  const hex = (at: number): string => data.readUInt16LE(at).toString(16).padStart(4, '0')
  for (let at = 0; at + 0x1a < data.length && data.readUInt16LE(at) === 0xaa55; ) {
    const pcir = at + data.readUInt16LE(at + 0x18)
    if (pcir + 0x18 > data.length || data.toString('latin1', pcir, pcir + 4) !== 'PCIR') break
    images.push({ vendor: hex(pcir + 4), device: hex(pcir + 6), type: data[pcir + 0x14] ?? 0 })
    const length = data.readUInt16LE(pcir + 0x10) * 512
    if (length === 0 || ((data[pcir + 0x15] ?? 0x80) & 0x80) !== 0) break
    at += length
  }
  return images
}

/** A ROM file that somebody wants to give to a guest. */
export function checkRomFile(path: string, data: Buffer, selected: readonly PciDevice[]): Finding {
  const images = romImages(data)
  if (images.length === 0)
    return problemFinding(
      'rom-file',
      `${path} is no expansion ROM`,
      ['it does not start with 55 AA and PCIR'],
      'an NVIDIA file with a header in front: cut it off before 55 AA',
    )
  const { vendor, device } = images[0] ?? { vendor: '', device: '' }
  if (selected.length > 0 && !selected.some((one) => one.vendor.id === vendor && one.device.id === device))
    return problemFinding(
      'rom-file',
      `${path} is of another card`,
      [`it is of ${vendor}:${device}`],
      'read the ROM of this very card',
    )
  if (!images.some(({ type }) => type === 3))
    return problemFinding(
      'rom-file',
      `${path} holds no UEFI image`,
      [`code types: ${images.map(({ type }) => type).join(', ')}`],
      'a guest with UEFI shows nothing on it until its driver runs; look for an update of the card’s firmware, or use --firmware bios',
    )
  return okFinding('rom-file', `${path} holds a UEFI image`)
}
