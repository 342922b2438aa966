import coerce from 'semver/functions/coerce.js'
import { parseSelector } from '../bind/select.ts'
import { runCommand } from '../change/run.ts'
import { UserError } from '../core/error.ts'
import { unpinnedTopology } from '../cpu/cores.ts'
import { pinVcpus } from '../cpu/pinning.ts'
import {
  type Capabilities,
  parseCapabilities,
  parseProperties,
  parseQemuHelp,
  UNKNOWN_CAPABILITIES,
} from '../guest/capabilities.ts'
import { chooseFunctions } from '../guest/choose-functions.ts'
import type { GuestFacts } from '../guest/decide.ts'
import { readDevices } from '../guest/devices/guest-devices.ts'
import { isIgd } from '../guest/devices/igd.ts'
import { readNetworkFunctions } from '../guest/network-functions.ts'
import { type BoardRequest, type RequestedDevices, versionFrom } from '../guest/request.ts'
import { readBars } from '../host/bars.ts'
import { readCpus } from '../host/cpu.ts'
import { findProgram } from '../host/find-program.ts'
import { parseEdk2, type UefiImage } from '../host/guest-firmware.ts'
import { readHypervisor } from '../host/hypervisor.ts'
import { type PciFacts, readPciFacts } from '../host/machine.ts'
import { cardOf, type PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import { findRequestedDevices } from './answer.ts'
import type { Context } from './run-script.ts'

/**
 * Reads the devices that `--gpu`, `--pci` and `--vf` name, if any; `guest` is the one that is to have them: `guest win11`,
 * `VM 101`.
 * Throws a UserError: `usage`, `no-device`, and those of `chooseFunctions`.
 */
export function findRequestedCards(
  { machine, arguments: given, warn }: Context,
  guest: string | undefined,
): {
  pci: PciFacts | null
  chosen: RequestedDevices
} {
  const [gpus, others, vfs] = [given.list('gpu'), given.list('pci'), given.list('vf')]
  const named = [...gpus, ...others, ...vfs]
  for (const text of named) parseSelector(text)
  if (named.length === 0) return { pci: null, chosen: { gpus: [], others: [], networks: [], notes: [] } }
  const pci = readPciFacts(machine, warn)
  const selected = { gpus: findRequestedDevices(pci, gpus), others: findRequestedDevices(pci, others) }
  const both = selected.others.find((device) => selected.gpus.includes(device))
  if (both !== undefined) throw new UserError('usage', `${both.address}: named by --gpu and by --pci`)
  const { reader, files } = machine
  const taken = [...selected.gpus, ...selected.others]
  const free = chooseFunctions(vfs, { machine: reader, files, devices: pci.devices, guest, taken })
  const networks = readNetworkFunctions(reader, files, [...taken, ...free.chosen], pci.devices)
  const all = [...selected.others, ...free.chosen]
  return { pci, chosen: { gpus: selected.gpus, others: all, networks, notes: free.notes } }
}

/** Reads the facts that a guest is decided from. Throws a UserError: `not-x86`, `too-many-vcpus`, `no-cpus` … */
export async function readGuestFacts(
  { machine, arguments: given }: Context,
  request: BoardRequest,
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
  const asked = [...requested.gpus, ...requested.others]
  return {
    requested,
    preset: request.preset,
    format: request.format,
    chipset: request.chipset,
    hypervisor: { ...hypervisor, uefiImages: await withUefiReleases(machine, hypervisor.uefiImages, asked.length > 0) },
    versions: {
      libvirt: request.format === 'proxmox' ? null : (versionFrom(given, 'libvirt') ?? hypervisor.libvirt),
      qemu: versionFrom(given, 'qemu') ?? hypervisor.qemu ?? (await askQemuVersion(machine)),
    },
    capabilities: {
      ...(await readCapabilities(machine, request)),
      // A version that is named is that of another QEMU.
      vfio: asked.some(isIgd) && given.value('qemu') === undefined ? await readProperties(machine) : null,
    },
    vendor: cpus.vendor,
    virtualApic: hypervisor.virtualApic,
    pinning: request.pin === undefined || plain !== null ? null : pinVcpus(cpus, { ...request.pin, node }),
    unpinned: unpinnedTopology(cpus, plain ?? Math.min(4, online || 4)),
    ...readDevices(machine, given),
    window: {
      bars: cardBars(reader, asked),
      addressBits: cpus.addressBits ?? null,
      vendor: cpus.vendor,
      gigabytePages: cpus.flags?.includes('pdpe1gb') ?? true,
      iommuBits,
    },
  }
}

/** Returns each card's BARs by its slot, since its functions are behind one bridge. */
function cardBars(reader: Reader, devices: readonly PciDevice[]): Map<string, number[]> {
  const cards = new Map<string, number[]>()
  for (const device of devices)
    cards.set(cardOf(device), [...(cards.get(cardOf(device)) ?? []), ...readBars(reader, device)])
  return cards
}

/** Adds to UEFI images their releases from rpm, whose database is no text. */
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

/** The files in which a captured machine has what programs report of its QEMU. */
const PROGRAM_REPORTS = {
  libvirt: '/run/vfio-scripts/domcapabilities.xml',
  qemu: '/run/vfio-scripts/qemu-help.txt',
  vfio: '/run/vfio-scripts/vfio-pci-help.txt',
} as const

/**
 * Reads what libvirt reports that it can give guests, or, for QEMU and where libvirt does not answer this user, what QEMU
 * has; nothing is known where there is none to ask.
 */
async function readCapabilities(machine: Context['machine'], { format, chipset }: BoardRequest): Promise<Capabilities> {
  if (format === 'proxmox') return UNKNOWN_CAPABILITIES
  const report = async (of: typeof format): Promise<string> =>
    machine.reader.optionalText(PROGRAM_REPORTS[of]) ?? (machine.running ? await askPrograms(machine, of, chipset) : '')
  const libvirt = format === 'libvirt' ? await report('libvirt') : ''
  return libvirt === '' ? parseQemuHelp(await report('qemu')) : parseCapabilities(libvirt)
}

/** Reads the properties that this QEMU's vfio-pci has. */
async function readProperties({ reader, files, running }: Context['machine']): Promise<Capabilities['vfio']> {
  const captured = reader.optionalText(PROGRAM_REPORTS.vfio)
  const qemu = running ? findProgram(files, 'qemu-system-x86_64', 'qemu-kvm') : undefined
  if (captured !== undefined || qemu === undefined) return parseProperties(captured ?? '')
  return parseProperties((await runCommand([qemu, '-device', 'vfio-pci,help'], { root: '/', seconds: 20 })).stdout)
}

async function askPrograms(
  { files }: Context['machine'],
  format: Exclude<BoardRequest['format'], 'proxmox'>,
  chipset: string,
): Promise<string> {
  const options = { root: '/', seconds: 20 }
  if (format === 'libvirt') {
    const virsh = findProgram(files, 'virsh')
    const board = chipset === 'q35' ? 'q35' : 'pc'
    const words = `-r -c qemu:///system domcapabilities --virttype kvm --arch x86_64 --machine ${board}`.split(' ')
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

/** Asks QEMU for its version, where no database of packages has it in plain text (rpm, NixOS). */
async function askQemuVersion({ files, running }: Context['machine']): Promise<string | null> {
  const path = running ? findProgram(files, 'qemu-system-x86_64', 'qemu-kvm') : undefined
  if (path === undefined) return null
  const { stdout } = await runCommand([path, '--version'], { root: '/', seconds: 10 })
  return coerce(stdout)?.version ?? null
}
