import { UserError } from '../core/error.ts'
import { type Remarks, supports, type Versions } from '../core/versions.ts'
import type { UefiImage as Image } from '../host/guest-firmware.ts'
import type { Hypervisor } from '../host/hypervisor.ts'
import type { Capabilities } from './capabilities.ts'
import type { GuestFirmware, ImageFeature } from './guest.ts'
import type { BoardRequest } from './request.ts'

/** A guest's firmware, and its release of edk2 (202211; `null`: not known, or a BIOS). */
export interface FirmwareDecision {
  firmware: GuestFirmware
  edk2: number | null
}

interface FirmwareFacts {
  hypervisor: Pick<Hypervisor, 'uefiImages' | 'edk2'>
  versions: Versions
  capabilities: Pick<Capabilities, 'firmware'>
}

/** The features that libvirt reports of the images that it looks at. */
type ReportedImages = Capabilities['firmware']

type FirmwareRequest = Pick<BoardRequest, 'name' | 'preset' | 'chipset' | 'format' | 'firmware' | 'loader'>

/** Decides the firmware. Throws a UserError: `no-firmware` where no image here fits, `usage` for a wrong request. */
export function decideFirmware(request: FirmwareRequest, facts: FirmwareFacts, remarks: Remarks): FirmwareDecision {
  const { uefiImages: images } = facts.hypervisor
  const { versions } = facts
  const reported = facts.capabilities.firmware
  const { preset, chipset, loader, format } = request
  const required = request.firmware ?? (preset === 'windows7' ? 'bios' : 'efi')
  if (required === 'bios') {
    if (preset === 'windows11' && format !== 'proxmox')
      throw new UserError('usage', '--firmware bios: Windows 11 wants UEFI and Secure Boot')
    remarks.reasons.push(
      preset === 'windows7' && request.firmware === undefined
        ? "BIOS: Windows 7's start screen calls the video BIOS, which UEFI does not have"
        : 'BIOS, as asked',
    )
    return { firmware: { kind: 'bios' }, edk2: null }
  }
  const secure = preset === 'windows11'
  if (secure && chipset === 'i440fx' && format !== 'proxmox')
    throw new UserError('usage', '--chipset i440fx: Windows 11 wants Secure Boot, which needs q35')
  if (secure) remarks.reasons.push('UEFI with Secure Boot and a TPM 2.0: Windows 11 asks for both')
  if (format === 'proxmox') {
    remarks.reasons.push('Proxmox starts its own UEFI image')
    return { firmware: { kind: 'auto', secure, features: [] }, edk2: facts.hypervisor.edk2 }
  }
  const fitting = images?.filter(({ boards }) => boards.includes(chipset)) ?? []
  const auto = format === 'libvirt' && loader === undefined && supports(versions, 'firmwareAuto')
  if (auto && images === null) return decideWithoutImages(request, versions, reported, remarks)
  if (auto) {
    const found = findAutoImage(secure, fitting, versions, reported)
    if (found !== undefined) {
      remarks.reasons.push('libvirt chooses the UEFI image by itself (5.2 and later)')
      noteEnrolledKeys(request, found.image, remarks)
      return { firmware: { kind: 'auto', secure, features: found.features }, edk2: found.image.edk2 }
    }
  }
  const image = findImage(request, images ?? [], fitting, versions)
  remarks.reasons.push(`${image.code} is the UEFI image${loader === undefined ? ', the first that fits' : ''}`)
  if (secure && !image.secure)
    remarks.notes.push(
      `--loader ${image.code}: holds no Secure Boot with SMM, which Windows 11 asks for; leave --loader out, and an image with it is chosen`,
    )
  else noteEnrolledKeys(request, image, remarks)
  const { code, vars, format: stored, edk2 } = image
  const nvram = `/var/lib/libvirt/qemu/nvram/${request.name}_VARS.${stored === 'raw' ? 'fd' : 'qcow2'}`
  const smm = image.secure
  return { firmware: { kind: 'files', secure, smm, format: stored, code, vars, nvram }, edk2 }
}

/** Is there an image that has this feature, or lacks it, as wanted? `null`: libvirt does not say. */
function hasImageWith(reported: ReportedImages, [name, required]: ImageFeature): boolean | null {
  return reported[name]?.includes(required ? 'yes' : 'no') ?? null
}

/** Decides the firmware where the host's images are not seen: by libvirt's report, else by what every host has. */
function decideWithoutImages(
  request: FirmwareRequest,
  versions: Versions,
  reported: ReportedImages,
  remarks: Remarks,
): FirmwareDecision {
  const secure = request.preset === 'windows11'
  remarks.reasons.push("libvirt chooses the UEFI image by itself (5.2 and later); the host's own are not known here")
  if (secure && hasImageWith(reported, ['secure-boot', true]) === false) throw noFirmwareError(SECURE_IMAGE, secure)
  const [withKeys, without] = [
    hasImageWith(reported, ['enrolled-keys', true]),
    hasImageWith(reported, ['enrolled-keys', false]),
  ]
  if (withKeys !== null)
    noteEnrolledKeys(request, { enrolled: secure ? withKeys : without === false, format: 'raw' }, remarks)
  const features: ImageFeature[] = []
  if (secure) features.push(['secure-boot', true])
  else if (hasImageWith(reported, ['secure-boot', true]) && hasImageWith(reported, ['secure-boot', false]))
    features.push(['secure-boot', false])
  if (secure ? withKeys : withKeys !== false && without !== false) features.push(['enrolled-keys', secure])
  return {
    firmware: { kind: 'auto', secure, features: supports(versions, 'firmwareFeatures') ? features : [] },
    edk2: null,
  }
}

/**
 * Finds the features to ask libvirt for, and the image that it then takes: the first described one that fits.
 * `undefined`: none, or one that this libvirt cannot use or should not remember. Features exclude images, so they are
 * asked for only where images of both kinds are described.
 */
function findAutoImage(
  secure: boolean,
  fitting: readonly Image[],
  versions: Versions,
  reported: ReportedImages,
): { features: ImageFeature[]; image: Image } | undefined {
  const described = fitting.filter((image) => image.described)
  const requirements: [feature: ImageFeature, holds: (image: Image) => boolean][] = secure
    ? [
        [['secure-boot', true], (image) => image.secure],
        [['enrolled-keys', true], (image) => image.enrolled],
      ]
    : [
        [['secure-boot', false], (image) => !image.secure],
        [['enrolled-keys', false], (image) => !image.enrolled],
      ]
  const features: ImageFeature[] = []
  let left = described
  for (const [feature, holds] of requirements) {
    const good = hasImageWith(reported, feature) === false ? [] : left.filter(holds)
    // The loader asks for SMM by itself where libvirt knows no features.
    const asks = supports(versions, 'firmwareFeatures')
    const needed = feature[0] === 'secure-boot' && secure
    if (needed && good.length === 0) return undefined
    if (good.length === 0 || (good.length === left.length && !needed)) continue
    if (asks) features.push(feature)
    if (asks || needed) left = good
  }
  const [image] = left
  if (image === undefined) return undefined
  const linked = image.code.startsWith('/run/')
  return linked || (image.format === 'qcow2' && !supports(versions, 'firmwareQcow2')) ? undefined : { features, image }
}

/** Finds the best of the fitting images whose name stays: as secure as wanted, then with or without keys. */
function findImage(
  { loader, preset, format }: FirmwareRequest,
  all: readonly Image[],
  fitting: readonly Image[],
  versions: Versions,
): Image {
  const secure = preset === 'windows11'
  const usable = (image: Image): boolean =>
    !image.fleeting && (format === 'qemu' || image.format === 'raw' || supports(versions, 'firmwareQcow2'))
  const named = all.find(({ code }) => code === loader)
  if (loader !== undefined && named !== undefined) return named
  const fits = loader === undefined ? fitting.filter((image) => usable(image) && (image.secure || !secure)) : []
  const rank = (image: Image): number =>
    secure ? Number(!image.enrolled) : 2 * Number(image.enrolled) + Number(image.secure)
  const [best] = [...fits].sort((one, other) => rank(one) - rank(other))
  if (best !== undefined) return best
  if (loader === undefined && fitting.some((image) => image.fleeting && (image.secure || !secure)))
    throw new UserError(
      'no-firmware',
      'the UEFI images are in /nix/store alone, which garbage collection empties: enable virtualisation.libvirtd, which links them from /run/libvirt/nix-ovmf',
    )
  const old = fitting.find((image) => !image.fleeting && !usable(image) && (image.secure || !secure))
  if (loader === undefined && old !== undefined)
    throw new UserError(
      'no-firmware',
      `${old.code}: the UEFI images here are qcow2, which libvirt uses from 9.2 on, and this one is ${versions.libvirt}; a newer libvirt, or --format qemu, starts them`,
    )
  throw noFirmwareError(loader ?? (secure ? SECURE_IMAGE : 'a UEFI image and its variables'), secure)
}

const SECURE_IMAGE = 'a UEFI image with Secure Boot and its variables'

function noFirmwareError(what: string, secure: boolean): UserError {
  const instead = secure ? '' : ', or choose --firmware bios'
  return new UserError('no-firmware', `${what}: not found on this host; install OVMF (tune-host --packages)${instead}`)
}

/** Notes where the image's keys make Secure Boot other than the guest wants it. Source: virt-fw-vars(1). */
function noteEnrolledKeys(
  { name, preset, format, loader }: FirmwareRequest,
  image: Pick<Image, 'enrolled' | 'format'>,
  { notes }: Remarks,
): void {
  const secure = preset === 'windows11'
  const file = image.format === 'raw' ? 'VARS.fd' : 'VARS.qcow2'
  const nvram = format === 'qemu' ? `its vars.${image.format === 'raw' ? 'fd' : 'qcow2'}` : `${name}_${file}`
  if (secure && !image.enrolled)
    notes.push(
      `${loader === undefined ? 'no UEFI image of this host has' : `--loader ${loader}: has not`} Microsoft's keys enrolled, so Secure Boot stays off: start the guest once, shut it down, and enroll them with virt-fw-vars --inplace FILE --enroll-redhat --secure-boot (virt-firmware), FILE being ${format === 'qemu' ? nvram : `/var/lib/libvirt/qemu/nvram/${nvram}`}`,
    )
  if (!secure && image.enrolled)
    notes.push(
      `${loader === undefined ? 'every UEFI image of this host' : `--loader ${loader}:`} has Microsoft's keys enrolled: Secure Boot is on, and the guest starts only what is signed`,
    )
}

/** Is SMM needed? libvirt switches it on for images that it chooses; with Secure Boot it is written all the same. */
export function needsSmm(firmware: GuestFirmware): boolean {
  return firmware.kind !== 'bios' && (firmware.secure || (firmware.kind === 'files' && firmware.smm))
}
