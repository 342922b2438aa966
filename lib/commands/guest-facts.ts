import coerce from 'semver/functions/coerce.js'
import { judgeResets, readResetFacts } from '../bind/reset.ts'
import { parseSelector } from '../bind/select.ts'
import { runCommand } from '../change/run.ts'
import { checkDeviceLog } from '../checks/device.ts'
import { guardRunner } from '../checks/judged.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { unpinnedTopology } from '../cpu/cores.ts'
import { pinVcpus } from '../cpu/pinning.ts'
import { type Capabilities, parseCapabilities, parseQemuHelp, UNKNOWN_CAPABILITIES } from '../guest/capabilities.ts'
import type { GuestFacts } from '../guest/decide.ts'
import { checkDevices, checkDisks, checkImages, checkResets, withFreeGroupMates } from '../guest/guest-checks.ts'
import type { GuestRequest, RequestedDevices } from '../guest/request.ts'
import { accountText } from '../host/accounts.ts'
import { hiddenFromQemu } from '../host/apparmor.ts'
import { readBars } from '../host/bars.ts'
import { readDiskUsage } from '../host/block.ts'
import { readCpus } from '../host/cpu.ts'
import {
  bootsByEfi,
  closedFolder,
  type DiskImage,
  libvirtUser,
  readDiskImage,
  scsiAddress,
} from '../host/disk-images.ts'
import { findProgram } from '../host/find-program.ts'
import { parseEdk2, type UefiImage } from '../host/guest-firmware.ts'
import { readHypervisor } from '../host/hypervisor.ts'
import { type PciFacts, readPciFacts } from '../host/machine.ts'
import { cardOf, isVfio, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { readPlugged } from '../host/usb.ts'
import { findRequestedDevices } from './answer.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import { versionFrom } from './guest-request.ts'
import type { Context } from './run-script.ts'

/** The devices that `--gpu` and `--pci` name, and the machine that has them; nothing is read when none is named. */
export function findRequestedCards({ machine, arguments: given, warn }: Context): {
  pci: PciFacts | null
  chosen: RequestedDevices
} {
  const [gpus, others] = [given.list('gpu'), given.list('pci')]
  for (const text of [...gpus, ...others]) parseSelector(text)
  if (gpus.length + others.length === 0) return { pci: null, chosen: { gpus: [], others: [] } }
  const pci = readPciFacts(machine, warn)
  const selected = { gpus: findRequestedDevices(pci, gpus), others: findRequestedDevices(pci, others) }
  const both = selected.others.find((device) => selected.gpus.includes(device))
  if (both !== undefined) throw new UserError('usage', `${both.address}: named by --gpu and by --pci`)
  return { pci, chosen: selected }
}

/** All that a guest is decided from. Throws a UserError for what cannot be. */
export async function readGuestFacts(
  { machine, arguments: given }: Context,
  request: GuestRequest,
  requested: RequestedDevices,
  iommuBits: number | null,
): Promise<GuestFacts> {
  const { files, reader } = machine
  const hypervisor = readHypervisor(files, reader)
  const cpus = readCpus(reader)
  if (cpus.x86 === false && given.value('patch') === undefined)
    throw new UserError(
      'not-x86',
      "this host's CPU is not x86 (/proc/cpuinfo): gen-domain writes x86_64 guests, which only an x86 host runs with KVM",
    )
  const online = cpus.cpus.filter((cpu) => cpu.online).length
  const size = request.pin?.size
  const plain = given.value('pin') === 'none' && typeof size === 'object' && 'vcpus' in size ? size.vcpus : null
  if (plain !== null && online > 0 && plain > online)
    throw new UserError('too-many-vcpus', `--vcpus ${plain}: the host has ${online} CPUs`)
  const [card] = [...requested.gpus, ...requested.others]
  const node = card?.numaNode ?? undefined
  const { audioUser } = request
  const asked = [...requested.gpus, ...requested.others]
  return {
    hypervisor: { ...hypervisor, uefiImages: await withUefiReleases(machine, hypervisor.uefiImages, asked.length > 0) },
    versions: {
      libvirt: versionFrom(given, 'libvirt') ?? hypervisor.libvirt,
      qemu: versionFrom(given, 'qemu') ?? hypervisor.qemu ?? (await askQemuVersion(machine)),
    },
    capabilities: await readCapabilities(machine, request),
    vendor: cpus.vendor,
    virtualApic: hypervisor.virtualApic,
    pinning: request.pin === undefined || plain !== null ? null : pinVcpus(cpus, { ...request.pin, node }),
    unpinned: unpinnedTopology(cpus, plain ?? Math.min(4, online || 4)),
    images: new Map(request.disks.map((path) => [path, readDiskImage(files, reader, path)])),
    window: {
      bars: cardBars(reader, asked),
      addressBits: cpus.addressBits ?? null,
      vendor: cpus.vendor,
      gigabytePages: cpus.flags?.includes('pdpe1gb') ?? true,
      iommuBits,
    },
    plugged: request.usb.length === 0 ? [] : readPlugged(reader),
    scsi: new Map(request.optical.map((path) => [path, scsiAddress(reader, path) ?? []])),
    audioUid: audioUser === undefined ? null : userNumber(accountText(files, 'passwd') ?? '', audioUser),
  }
}

/** A card's BARs by its slot: its functions stand behind one bridge. */
function cardBars(reader: Reader, devices: readonly PciDevice[]): Map<string, number[]> {
  const cards = new Map<string, number[]>()
  for (const device of devices)
    cards.set(cardOf(device), [...(cards.get(cardOf(device)) ?? []), ...readBars(reader, device)])
  return cards
}

/** The releases of UEFI images from rpm, whose database is no text. */
async function withUefiReleases(
  { files, running }: Context['machine'],
  images: readonly UefiImage[] | null,
  needed: boolean,
): Promise<UefiImage[] | null> {
  const path = running && needed ? findProgram(files, 'rpm') : undefined
  if (images === null || path === undefined) return images && [...images]
  return Promise.all(
    images.map(async (image) => {
      if (image.edk2 !== null) return image
      const { code, stdout } = await runCommand([path, '-qf', '--qf', '%{VERSION}', image.code], {
        root: '/',
        seconds: 10,
      })
      return code === 0 ? { ...image, edk2: parseEdk2(stdout) } : image
    }),
  )
}

/** What programs say of this host's QEMU, by the file that a captured machine has it in. */
const PROGRAM_REPORTS = {
  libvirt: '/run/vfio-scripts/domcapabilities.xml',
  qemu: '/run/vfio-scripts/qemu-help.txt',
} as const

/** What libvirt or QEMU says that it can give guests; nothing where there is none to ask. */
async function readCapabilities(machine: Context['machine'], { format, chipset }: GuestRequest): Promise<Capabilities> {
  const text =
    machine.reader.optionalText(PROGRAM_REPORTS[format]) ??
    (machine.running ? await askPrograms(machine, format, chipset) : '')
  if (text === '') return UNKNOWN_CAPABILITIES
  return format === 'libvirt' ? parseCapabilities(text) : parseQemuHelp(text)
}

async function askPrograms(
  { files }: Context['machine'],
  format: GuestRequest['format'],
  chipset: string,
): Promise<string> {
  const options = { root: '/', seconds: 20 }
  if (format === 'libvirt') {
    const virsh = findProgram(files, 'virsh')
    const board = chipset === 'q35' ? 'q35' : 'pc'
    const words = [
      '-r',
      '-c',
      'qemu:///system',
      'domcapabilities',
      '--virttype',
      'kvm',
      '--arch',
      'x86_64',
      '--machine',
      board,
    ]
    const ran = virsh === undefined ? undefined : await runCommand([virsh, ...words], options)
    return ran?.code === 0 ? ran.stdout : ''
  }
  const qemu = findProgram(files, 'qemu-system-x86_64', 'qemu-kvm')
  if (qemu === undefined) return ''
  const [devices, chardevs] = await Promise.all(
    ['-device', '-chardev'].map((option) => runCommand([qemu, option, 'help'], options)),
  )
  return `${devices?.stdout ?? ''}${chardevs?.stdout ?? ''}`
}

/** QEMU's version from itself, where no database of packages has it in plain text (rpm, NixOS). */
async function askQemuVersion({ files, running }: Context['machine']): Promise<string | null> {
  const path = running ? findProgram(files, 'qemu-system-x86_64', 'qemu-kvm') : undefined
  if (path === undefined) return null
  const { stdout } = await runCommand([path, '--version'], { root: '/', seconds: 10 })
  return coerce(stdout)?.version ?? null
}

function userNumber(passwd: string, user: string): number {
  if (/^\d+$/.test(user)) return Number(user)
  const uid = passwd
    .split('\n')
    .find((line) => line.startsWith(`${user}:`))
    ?.split(':')[2]
  if (uid === undefined) throw new UserError('no-user', `--audio-user ${user}: no such user on this host`)
  return Number(uid)
}

/** What speaks against the guest, and what the person should know. */
export async function checkGuest(
  { machine }: Context,
  request: GuestRequest,
  facts: GuestFacts,
  pci: PciFacts | null,
  requested: RequestedDevices,
): Promise<{ findings: Finding[]; warnings: string[] }> {
  const findings: Finding[] = []
  const warnings: string[] = []
  const asked = [...requested.gpus, ...requested.others]
  if (pci !== null) {
    const kernel = await askKernelLog(machine)
    const bound = withFreeGroupMates(pci.devices, asked)
    const usage = readDeviceUsage(machine.reader, machine.files, bound)
    findings.push(
      ...checkDevices(pci.devices, bound, asked, usage, pci.groups, guardRunner([machine.reader, machine.files])),
    )
    const known = readResetFacts(machine.reader, pci.devices, asked, kernel.log)
    const resets = checkResets(judgeResets(pci.devices, asked, known, true))
    const said = checkDeviceLog(kernel, asked)
    findings.push(resets.finding, ...(said.state === 'problem' ? [] : [said]))
    if (said.state === 'problem') warnings.push(...said.evidence.map((line) => `the kernel log: ${line}`))
    warnings.push(...resets.warnings, ...asked.flatMap(driverWarning))
    if (pci.iommu.enabled !== true)
      warnings.push(`${pci.iommu.reason ?? 'no IOMMU groups'}; the guest cannot start with these devices until then`)
  }
  const { files, reader } = machine
  const { iso, virtioIso, rom, headless } = request
  const more = [...(headless ? [] : [iso, virtioIso]), rom].filter((path) => path !== undefined)
  const named = [...request.evdev, ...request.shares.map(({ path }) => path)]
  const absent = named
    .filter((path) => !files.exists(path))
    .map((path): DiskImage => ({ path, kind: 'absent', format: 'raw' }))
  const images = [...facts.images.values(), ...more.map((path) => readDiskImage(files, reader, path)), ...absent]
  findings.push(checkImages(images, machine.running))
  const blocks = [...facts.images.values()].filter(({ kind }) => kind === 'block')
  findings.push(checkDisks(blocks.map(({ path }) => readDiskUsage(reader, files, path))))
  if (iso !== undefined && request.firmware !== 'bios' && bootsByEfi(files, iso) === false)
    warnings.push(`${iso}: holds no UEFI boot image; choose another, or --firmware bios`)
  const { swtpm, virtiofsd } = facts.hypervisor
  if (machine.running && !swtpm && (request.tpm || request.preset === 'windows11'))
    warnings.push('swtpm is not installed, and the guest has a TPM')
  if (machine.running && !virtiofsd && request.shares.length > 0)
    warnings.push('virtiofsd is not installed, and the guest shares folders')
  if (rom !== undefined && request.format === 'libvirt' && hiddenFromQemu(files, reader, rom))
    warnings.push(`${rom}: AppArmor keeps it from QEMU, which then finds no romfile; move it to /usr/share/vgabios`)
  const user = libvirtUser(files)
  for (const path of user === undefined
    ? []
    : [...more, ...request.disks.filter((each) => !each.startsWith('/dev/'))]) {
    const folder = user && closedFolder(files, path, user)
    if (folder !== undefined)
      warnings.push(
        `${path}: QEMU runs as ${user?.name}, which may not pass ${folder}; move it to /var/lib/libvirt/images`,
      )
  }
  return { findings, warnings }
}

function driverWarning({ address, driver, bridge }: PciDevice): string[] {
  if (driver === null || isVfio(driver) || bridge) return []
  return [
    `${address}: ${driver} has it now; libvirt takes it when the guest starts, bind-vfio keeps it free from the boot on`,
  ]
}
