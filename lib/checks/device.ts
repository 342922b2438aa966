import { isBadReset, judgeResets, readResetFacts } from '../bind/reset.ts'
import { okResult, problemResult, unknownResult } from '../core/finding.ts'
import { sizeText } from '../core/sizes.ts'
import { readResizableBars } from '../host/bars.ts'
import { hasShadowRom, otherBootGpu } from '../host/boot-gpu.ts'
import { isExpress } from '../host/config-space.ts'
import { FIRMWARE_PICTURES } from '../host/kernel.ts'
import { findKernelMessages } from '../host/kernel-messages.ts'
import { cardOf, isDisplay, isPciBridge, type PciDevice } from '../host/pci.ts'
import { parseRom } from '../host/rom.ts'
import type { HostCheck } from './check-facts.ts'

/** Does the card share its IOMMU group, and which slot would be better? */
export const groupsCheck: HostCheck<'pci' | 'requested'> = {
  code: 'groups',
  askedBy: ['device'],
  run({ pci, requested }) {
    const cards = new Set(requested.map(cardOf))
    const mixed = pci.groups.filter(
      ({ devices }) =>
        devices.some((device) => cards.has(cardOf(device))) &&
        devices.some((device) => !device.bridge && !cards.has(cardOf(device))),
    )
    const [first] = mixed
    if (first === undefined) return okResult('The card shares its IOMMU group with no other card')
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
    return problemResult(
      `IOMMU group ${first.id} holds other cards: they would go along`,
      mates.map(({ address, class: type }) => `${address} (${type.name ?? type.id})`),
      better,
    )
  },
}

function isRootPort(device: PciDevice): boolean {
  return isPciBridge(device) && device.parent === null
}

export const resetCheck: HostCheck<'pci' | 'log' | 'host' | 'requested'> = {
  code: 'reset',
  askedBy: ['device'],
  run({ pci, log, host: { machine }, requested }) {
    const cards = judgeResets(pci.devices, requested, readResetFacts(machine, pci.devices, requested, log), true)
    const bad = cards.filter(isBadReset)
    if (bad.length > 0)
      return problemResult(
        'The card does not come back when its guest stops',
        bad.map(({ reason }) => reason),
        'check-reset says more',
      )
    const open = cards.filter(({ verdict }) => verdict === 'unknown' || verdict === 'quirk')
    if (open.length > 0)
      return unknownResult(
        'Whether the card comes back when its guest stops is not certain',
        open.map(({ reason }) => reason),
      )
    return okResult(
      'The card can be reset',
      cards.map(({ reason }) => reason),
    )
  },
}

/** Has the kernel logged anything against the card since the boot? */
export const deviceLogCheck: HostCheck<'log' | 'logMissing' | 'requested'> = {
  code: 'device-log',
  askedBy: ['device'],
  run({ log, logMissing, requested }) {
    if (log === null) return unknownResult('It is not known what the kernel log says of the card', [logMissing])
    const said = findKernelMessages(log).filter(({ address }) => requested.some((device) => device.address === address))
    if (said.length === 0) return okResult('The kernel log says nothing against the card')
    return problemResult(
      'The kernel log speaks against the card',
      said.map(({ line }) => line),
      [...new Set(said.map(({ next }) => next))].join('; '),
    )
  },
}

const FRAMEBUFFERS = new RegExp(FIRMWARE_PICTURES.map((name) => name.replaceAll('*', '')).join('|'))

/** Does a framebuffer of the firmware keep memory of the card busy? QEMU then says `BAR 0: can't reserve`. */
export const framebufferCheck: HostCheck<'host' | 'requested'> = {
  code: 'framebuffer',
  askedBy: ['device'],
  run({ host: { machine }, requested }) {
    if (!requested.some(isDisplay)) return okResult('No graphics card is asked for')
    const lines = (machine.optionalBytes('/proc/iomem')?.toString('latin1') ?? '').split('\n')
    const depth = (line: string): number => /^ */.exec(line)?.[0].length ?? 0
    const held = lines.flatMap((line, index) => {
      if (!FRAMEBUFFERS.test(line)) return []
      const above = lines.slice(0, index).reverse()
      const owner = above.find(
        (one) => depth(one) < depth(line) && requested.some(({ address }) => one.includes(address)),
      )
      return owner === undefined ? [] : [`/proc/iomem: ${line.trim()}, within ${owner.trim()}`]
    })
    if (held.length > 0)
      return problemResult(
        "The firmware's framebuffer holds the card",
        held,
        'let the host show its console on another card (firmware setup), or add initcall_blacklist=sysfb_init, and look again after the reboot',
      )
    if (lines.length < 2) return unknownResult('It is not known who holds the memory of the card', ['/proc/iomem'])
    return okResult("No framebuffer of the firmware's holds the card")
  },
}

/** Is the card behind a bridge to conventional PCI? No messages pass it, and VFIO cannot share its interrupt line. */
export const interruptLinesCheck: HostCheck<'pci' | 'host' | 'requested'> = {
  code: 'shared-interrupts',
  askedBy: ['device'],
  run({ pci, host: { machine }, requested }) {
    const below = requested.filter(({ parent }) =>
      pci.devices.some((above) => above.address === parent && isPciBridge(above)),
    )
    const kinds = new Map(below.map((device) => [device, isExpress(machine, device)]))
    const open = below.filter((device) => kinds.get(device) === null)
    // A kernel that reports the link speed of any device reports that of all PCI Express devices.
    const reported =
      open.length > 0 && pci.devices.some((device) => machine.exists(`${device.path}/current_link_speed`))
    const behind = below.filter((device) => kinds.get(device) === false || (reported && kinds.get(device) === null))
    if (behind.length > 0)
      return problemResult(
        'The card is behind a bridge to conventional PCI, where interrupt lines are shared',
        behind.map(({ address, parent }) => `${address} is below ${parent}`),
        'where the guest hangs or the device is refused: another slot, or a PCI Express card',
      )
    if (open.length > 0 && !reported)
      return unknownResult(
        'It is not known whether the card shares its interrupt line',
        open.map(({ path }) => `${path}/config: cut short`),
        'run as root',
      )
    return okResult('Interrupts of the card are its own')
  },
}

/** Is the ROM of the card that shows the console only the copy in memory, which the firmware has changed? */
export const romCheck: HostCheck<'host' | 'pci' | 'requested'> = {
  code: 'rom',
  askedBy: ['device'],
  run({ host: { machine }, pci, requested }) {
    const shadow = requested.filter((device) => hasShadowRom(machine, device))
    if (shadow.length === 0) return okResult("No card's ROM is a copy in memory")
    return problemResult(
      "The card's ROM is a shadow copy that the firmware has changed",
      shadow.map(({ path }) => `${path}/rom`),
      `give the guest a ROM file that was read while another card showed the console (gen-domain --rom FILE): ${otherBootGpu(machine, pci.devices, shadow)}`,
    )
  },
}

/** Is the ROM file fit for the card and the guest? */
export const romFileCheck: HostCheck<'romFile' | 'requested'> = {
  code: 'rom-file',
  askedBy: ['device'],
  run({ romFile, requested }) {
    if (romFile === null) return []
    const { path, data } = romFile
    const { images, whole } = parseRom(data)
    if (images.length === 0)
      return problemResult(
        `${path} is no expansion ROM`,
        ['it does not start with 55 AA and PCIR'],
        'an NVIDIA file with a header in front: cut it off before 55 AA',
      )
    const { vendor, device } = images[0] ?? { vendor: '', device: '' }
    if (requested.length > 0 && !requested.some((one) => one.vendor.id === vendor && one.device.id === device))
      return problemResult(
        `${path} is of another card`,
        [`it is of ${vendor}:${device}`],
        'read the ROM of this very card',
      )
    if (!whole)
      return problemResult(
        `${path} is cut short`,
        ['its last image is not there to its end'],
        'read the ROM again (check-host --dump-rom FILE)',
      )
    if (!images.some(({ type }) => type === 3))
      return problemResult(
        `${path} holds no UEFI image`,
        [`code types: ${images.map(({ type }) => type).join(', ')}`],
        'a guest with UEFI shows nothing on it until its driver runs; look for an update of the card’s firmware, or use --firmware bios',
      )
    return okResult(`${path} holds a UEFI image`)
  },
}

/** How large are the windows of the card, and how large could they be (Resizable BAR)? It is told, never changed. */
export const resizableBarsCheck: HostCheck<'host' | 'requested'> = {
  code: 'resizable-bar',
  askedBy: ['device'],
  run({ host: { machine }, requested }) {
    const lines = requested.flatMap((device) =>
      readResizableBars(machine, device).map(
        ({ bar, size, sizes }) =>
          `${device.address} BAR ${bar}: ${size === null ? 'not placed' : sizeText(size)} now; the card offers ${sizes.map(sizeText).join(', ')}`,
      ),
    )
    if (lines.length === 0) return []
    return okResult('The card has windows that can be resized (Resizable BAR); a guest sees the present size', [
      ...lines,
      'a change wants the card without any driver, in the firmware setup or by resourceN_resize, and a guest with room for it',
    ])
  },
}
