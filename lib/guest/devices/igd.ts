import { UserError } from '../../core/error.ts'
import { type Remarks, supports } from '../../core/versions.ts'
import { hasShadowRom } from '../../host/boot-gpu.ts'
import { readRunningConfig } from '../../host/kernel.ts'
import { isDisplay, type PciDevice } from '../../host/pci.ts'
import { parseRom, type RomImage } from '../../host/rom.ts'
import type { Arguments } from '../../terminal/options.ts'
import { pathValue } from '../guest-arguments.ts'
import { IOMMUFD, type IommufdUse } from '../iommufd.ts'
import { cardHostdevs } from '../libvirt/card-hostdevs.ts'
import { xmlElement } from '../libvirt/xml-element.ts'
import { igdSetting } from '../proxmox/card-settings.ts'
import { escapeCommas } from '../qemu/qemu-words.ts'
import type { BoardFacts, GuestDevice } from './guest-device.ts'

// Intel's integrated GPU. Its drivers and its ROM look for it at 00:02.0, never behind a root port, and need memory of
// the firmware besides its BARs. Source: QEMU, docs/igd-assign.txt and hw/vfio/igd.c.

export interface DecidedIgd {
  igd: {
    /** Its address on the host: `0000:00:02.0`. */
    address: string
    /** The file of its ROM; `null`: the copy that the host's firmware left in memory. */
    rom: string | null
    /** The properties of QEMU's vfio-pci, with their values, and their types as libvirt has them. */
    properties: { name: string; type: 'bool' | 'string'; value: 'on' | 'off' }[]
  } | null
}

interface IgdFacts {
  igdHost: {
    /** The images of the ROM's file; `null`: there is none to be read. */
    romImages: readonly RomImage[] | null
    /** Was the host started by UEFI, which leaves no VBIOS in memory? */
    efi: boolean
    /** Does the kernel give the copy of the VBIOS that a BIOS left in memory? */
    shadow: boolean
    /** Has the kernel what VFIO needs for it (`VFIO_PCI_IGD`)? `null`: not known. */
    regions: boolean | null
  }
}

/** The name of its device in libvirt, by which its properties are set. */
const ALIAS = 'ua-vfio-igd'
const ADDRESS = '0000:00:02.0'

/**
 * The upper byte of the device IDs of generations 6 to 9, Sandy Bridge to Comet Lake: the last ones for which Intel made
 * a VBIOS. Source: QEMU, hw/vfio/igd.c (igd_gen).
 */
const WITH_VBIOS = new Set(['01', '04', '0a', '0c', '0d', '0f', '16', '22', '19', '31', '59', '3e', '9b'])
const isBroxton = (id: string): boolean => /^(0a|1a|5a)8[45]$/.test(id)

/** Is it the integrated GPU itself? Its virtual functions are ordinary devices, and cards of Intel's are elsewhere. */
export function isIgd(device: PciDevice): boolean {
  return device.address === ADDRESS && device.vendor.id === '8086' && isDisplay(device)
}

export const integratedGpu: GuestDevice<IgdFacts, DecidedIgd, { iommufd: IommufdUse }> = {
  options: [],
  read({ files, reader }, given) {
    const rom = pathValue(given, 'rom')
    const data = rom === undefined ? undefined : files.optionalBytes(rom)
    const config = readRunningConfig(reader)
    return {
      igdHost: {
        romImages: data === undefined ? null : parseRom(data).images,
        efi: reader.exists('/sys/firmware/efi'),
        shadow: hasShadowRom(reader, { path: `/sys/bus/pci/devices/${ADDRESS}`, bootVga: true }),
        regions: config === undefined ? null : config.has('CONFIG_VFIO_PCI_IGD'),
      },
    }
  },
  decide(given, facts, remarks) {
    const device = [...facts.requested.gpus, ...facts.requested.others].find(isIgd)
    return { igd: device === undefined ? null : decideIgd(device, given, facts, remarks) }
  },
  xml({ igd, iommufd }) {
    if (igd === null) return []
    const functions = [{ address: igd.address, rom: igd.rom }]
    const card = { functions, xVga: false, boot: false, iommufd: iommufd === 'device', network: null }
    return cardHostdevs(card, { bus: 0, slot: 2 }, ALIAS)
  },
  passedOn: ({ igd }, versions) =>
    igd === null || supports(versions, 'override')
      ? []
      : igd.properties.flatMap(({ name, value }) => [
          '-set',
          `device.${supports(versions, 'aliases') ? ALIAS : 'hostdev0'}.${name}=${value}`,
        ]),
  overrides: ({ igd }) => (igd === null ? [] : [overrideOf(igd)]),
  proxmox: ({ igd, chipset }, target) => (igd === null ? [] : [igdSetting(igd, chipset, target)]),
  qemu({ igd, chipset, iommufd }) {
    if (igd === null) return []
    const words = [
      `vfio-pci,host=${igd.address},bus=${chipset === 'q35' ? 'pcie.0' : 'pci.0'},addr=0x2`,
      ...(iommufd === null ? [] : [`iommufd=${IOMMUFD}`]),
      ...igd.properties.map(({ name, value }) => `${name}=${value}`),
      ...(igd.rom === null ? [] : [`romfile=${escapeCommas(igd.rom)}`]),
    ]
    return [['-device', words.join(',')]]
  },
}

function overrideOf({ properties }: NonNullable<DecidedIgd['igd']>) {
  const elements = properties.map(({ name, type, value }) =>
    xmlElement('qemu:property', { name, type, value: type === 'string' ? value : value === 'on' ? 'true' : 'false' }),
  )
  return xmlElement('qemu:device', { alias: ALIAS }, xmlElement('qemu:frontend', {}, elements))
}

const usage = (message: string): UserError => new UserError('usage', message)

/** Throws a UserError: `usage`, `no-vbios`, `no-igd-rom`, `no-igd` where QEMU or the kernel cannot pass it through. */
function decideIgd(
  device: PciDevice,
  given: Arguments,
  facts: BoardFacts & IgdFacts,
  remarks: Remarks,
): NonNullable<DecidedIgd['igd']> {
  const { address } = device
  const { igdHost, firmware, format, chipset } = facts
  if (given.value('patch') !== undefined)
    throw usage(
      `${address}: an integrated GPU is not added to an existing domain: its slot, the board, the firmware and QEMU's properties go together; make a new guest with --name`,
    )
  if (igdHost.regions === false)
    throw new UserError(
      'no-igd',
      `${address}: this kernel gives a guest no OpRegion (CONFIG_VFIO_PCI_IGD); use a kernel that has it`,
    )
  const legacy = firmware.kind === 'bios'
  const rom = pathValue(given, 'rom') ?? null
  if (legacy) expectLegacy(device, chipset)
  // On i440fx alone Proxmox has it at 00:02.0, with no other graphics then, whatever the firmware.
  const alone = legacy ? 'with a BIOS' : format === 'proxmox' && chipset === 'i440fx' ? 'with legacy-igd' : undefined
  if (alone !== undefined) expectAlone(address, alone, given, facts)
  if (legacy) expectVbios(address, facts, rom)
  else expectUefiRom(device, facts, rom, remarks)
  if (!legacy && device.class.id.slice(0, 4) !== '0300')
    remarks.notes.push(
      `${address}: no VGA controller (class ${device.class.id.slice(0, 4)}), since another card shows the host's console: QEMU before 10.1 gives the guest no OpRegion then; make it the primary display in the firmware setup`,
    )
  if (!legacy && !supports(facts.versions, { libvirt: '0.0.0', qemu: '10.0.0' }))
    remarks.notes.push(
      `${address}: QEMU ${facts.versions.qemu} gives the guest no stolen memory for it, which Windows wants, and knows no generation from 11 on; QEMU 10.0 and later do`,
    )
  const place =
    format === 'proxmox' && chipset === 'q35'
      ? ''
      : "at 00:02.0 of the guest and behind no root port, where Intel's drivers look for it; "
  remarks.reasons.push(
    legacy
      ? `${address}: at 00:02.0 of the guest, in QEMU's legacy mode: i440fx, its VBIOS, and no other graphics`
      : `${address}: ${place}its ROM sets up OpRegion and stolen memory, which OVMF does not`,
  )
  return { address, rom, properties: decideProperties(address, legacy, facts) }
}

/** Throws where the legacy mode is not to be had: SeaBIOS sets up OpRegion and stolen memory, and runs the VBIOS. */
function expectLegacy({ address, device, class: kind }: PciDevice, chipset: BoardFacts['chipset']): void {
  if (chipset !== 'i440fx')
    throw usage(
      `${address}: with a BIOS an integrated GPU needs --chipset i440fx (on q35 the guest's own LPC bridge is where its VBIOS looks for the host's); or leave --firmware bios out and give its UEFI ROM with --rom`,
    )
  if (!WITH_VBIOS.has(device.id.slice(0, 2)) && !isBroxton(device.id))
    throw usage(
      `${address}: 8086:${device.id} is not of generation 6 to 9 (Sandy Bridge to Comet Lake), and Intel makes no VBIOS from generation 11 on: leave --firmware bios and --chipset i440fx out, and give its UEFI ROM with --rom`,
    )
  if (!kind.id.startsWith('0300'))
    throw usage(
      `${address}: is no VGA controller now (class ${kind.id.slice(0, 4)}), since another card shows the host's console: make it the primary display in the firmware setup`,
    )
}

/** Throws where the guest would have other graphics beside it; `why` it may have none. */
function expectAlone(address: string, why: string, given: Arguments, { requested }: BoardFacts): void {
  const others = [...requested.gpus, ...requested.others].filter((each) => isDisplay(each) && each.address !== address)
  if (others.length > 0)
    throw usage(
      `${others.map((each) => each.address).join(', ')}: ${why} the integrated GPU has to be the only graphics of the guest; leave one of them out`,
    )
  if (!given.flag('headless'))
    throw usage(
      `${address}: ${why} the integrated GPU has to be the only graphics of the guest: install it without the GPU, then add --headless`,
    )
}

function expectVbios(address: string, { igdHost }: IgdFacts, rom: string | null): void {
  if (rom === null && (igdHost.efi || !igdHost.shadow))
    throw new UserError(
      'no-vbios',
      `${address}: its VBIOS is not in the host's memory${igdHost.efi ? ', which UEFI started' : ''}: start the host by BIOS (CSM) with this GPU as the primary display, or give the VBIOS of this board with --rom FILE`,
    )
  if (rom !== null && igdHost.romImages !== null && !igdHost.romImages.some(({ type }) => type === 0))
    throw new UserError('no-vbios', `--rom ${rom}: holds no image for a BIOS (code type 0), the VBIOS of this GPU`)
}

/** What the ROM must hold for a guest with UEFI, and how it is made. */
const romContents = (id: string): string =>
  `a PCI option ROM for UEFI (code type 3) with IgdAssignmentDxe, which sets up OpRegion and stolen memory, and for a picture before the system starts PlatformGopPolicy and Intel's GOP driver too; edk2 makes it: EfiRom -f 0x8086 -i 0x${id} -o igd.rom -e IgdAssignmentDxe.efi …`

function expectUefiRom(
  { address, device }: PciDevice,
  { igdHost }: BoardFacts & IgdFacts,
  rom: string | null,
  { notes }: Remarks,
): void {
  if (rom === null)
    throw new UserError(
      'no-igd-rom',
      `${address}: OVMF sets up no OpRegion and no stolen memory for an integrated GPU: give a ROM that does with --rom FILE, ${romContents(device.id)}`,
    )
  if (igdHost.romImages === null) return
  const fitting = igdHost.romImages.filter(({ type, vendor }) => type === 3 && vendor === '8086')
  if (fitting.length === 0)
    throw new UserError(
      'no-igd-rom',
      `--rom ${rom}: holds no UEFI image of Intel's; it must be ${romContents(device.id)}`,
    )
  if (!fitting.some((image) => image.device === device.id))
    notes.push(
      `--rom ${rom}: is made for 8086:${fitting[0]?.device}, and ${address} is 8086:${device.id}; whether OVMF runs it is not known`,
    )
}

/** What QEMU is told, on or off: each is written out, since defaults changed (`x-igd-opregion` is on from 10.1). */
function decideProperties(
  address: string,
  legacy: boolean,
  { versions, capabilities }: BoardFacts,
): NonNullable<DecidedIgd['igd']>['properties'] {
  const known = capabilities.vfio
  const recent = supports(versions, { libvirt: '0.0.0', qemu: '10.0.0' })
  if (known !== null && !known.has('x-igd-opregion'))
    throw new UserError(
      'no-igd',
      `${address}: this QEMU has no x-igd-opregion (-device vfio-pci,help): it was built without Intel's integrated GPUs`,
    )
  const typeOf = (name: string): 'bool' | 'string' =>
    (known?.get(name) ?? (name === 'x-igd-legacy-mode' ? 'OnOffAuto' : 'bool')) === 'bool' ? 'bool' : 'string'
  // Older ones have the legacy mode by themselves, wherever it may be, and the bridge with it.
  const isThere = (name: string): boolean => (known === null ? recent : known.has(name))
  return [
    { name: 'x-igd-opregion', value: 'on' } as const,
    ...(isThere('x-igd-legacy-mode') ? [{ name: 'x-igd-legacy-mode', value: legacy ? 'on' : 'off' } as const] : []),
    ...(legacy && isThere('x-igd-lpc') ? [{ name: 'x-igd-lpc', value: 'on' } as const] : []),
    ...(legacy ? [{ name: 'x-vga', value: 'on' } as const] : []),
  ].map((each) => ({ ...each, type: typeOf(each.name) }))
}
