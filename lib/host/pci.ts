import { UserError } from '../core/error.ts'
import { type Identity, parseHexId, readIdentity } from './device-identity.ts'
import type { DeviceNames } from './device-names.ts'
import { withLater } from './later.ts'
import type { ModuleTables } from './modules.ts'
import type { Reader } from './reader.ts'
import { type ResetMethods, readReset } from './reset-methods.ts'

/**
 * One PCI function, as every script shows it and as `--json` prints it. Unknown is `null`.
 * Source: Documentation/ABI/testing/sysfs-bus-pci and Documentation/PCI/sysfs-pci.rst of the kernel.
 */
export interface PciDevice {
  /**
   * The address, `DOMAIN:BUS:DEVICE.FUNCTION` in lower-case hex; the domain has four digits, or five behind Intel VMD.
   */
  address: string
  class: { /** Base class and subclass, four hex digits. */ id: string; progIf: string; name: string | null }
  vendor: { id: string; name: string | null }
  device: { id: string; name: string | null }
  subsystem: { vendor: string; device: string } | null
  /** The revision in two hex digits. */
  revision: string | null
  /** The driver that has it now; `null` when none does. */
  driver: string | null
  /**
   * The modules that could claim it, in the order in which modprobe finds them; `null` when the alias tables are not
   * readable.
   */
  modules: string[] | null
  /** Is it a bridge, root port or host bridge? Such devices are never bound and never given to a guest. */
  bridge: boolean
  /** Does the firmware show its display here? `null` for a VGA controller whose `boot_vga` is not there. */
  bootVga: boolean | null
  numaNode: number | null
  /** The address of the bridge (or VMD controller) above; `null` on a root bus, or when the tree does not say. */
  parent: string | null
  reset: ResetMethods
  /**
   * The name of what goes to a guest together: the slot (`0000:01:00`), the display's slot for a card on several buses,
   * or the address of a virtual function, which goes alone.
   */
  card: string
  /** The physical function that this virtual function belongs to (SR-IOV); `null` for any other. */
  physicalFunction: string | null
  /** The number of its IOMMU group; `null` without one. */
  group: number | null
  /** The device's folder in sysfs, links resolved. */
  path: string
}

const ADDRESS = /^([0-9a-f]{4,8}):([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/

/** Is this a full PCI address, as sysfs writes it? */
export function isAddress(text: string): boolean {
  return ADDRESS.test(text)
}

/** Orders addresses as numbers: domain, bus, device, function. */
export function compareAddresses(one: string, other: string): number {
  // Up to the domain's length, hex digits of equal length sort as their numbers do.
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0)
}

/** Returns the slot of an address: `0000:01:00.1` → `0000:01:00`. */
export function slotOf(address: string): string {
  return address.slice(0, -2)
}

/** Returns the domain of an address: `0000:01:00.1` → `0000`. */
export function domainOf(address: string): string {
  return address.slice(0, address.indexOf(':'))
}

/** Is it a VGA, XGA, 3D or other display controller? The numeric class decides: names and 0300 alone miss cards. */
export function isDisplay(device: PciDevice): boolean {
  return device.class.id.startsWith('03')
}

/** Does this driver hold devices for guests? It is vfio-pci, a variant of that (mlx5_vfio_pci), or pci-stub. */
export function isVfio(driver: string | null): boolean {
  return /(^|[-_])vfio([-_]|$)|^pci[-_]stub$/.test(driver ?? '')
}

/** Is it pci-stub, which does nothing but hold a device? */
export function isStub(driver: string | null): boolean {
  return /^pci[-_]stub$/.test(driver ?? '')
}

// PCI Code and ID Assignment Specification, base class 06: host, ISA, EISA, MCA, PCI-to-PCI, PCMCIA, CardBus and
// semi-transparent bridges. 0680 (other) is not among them: NVSwitches carry it and are passed through.
const BRIDGES = new Set(['0600', '0601', '0602', '0603', '0604', '0605', '0607', '0609'])

/** Is it a bridge whose other side is a PCI bus? */
export function isPciBridge(device: PciDevice): boolean {
  return device.class.id === '0604' || device.class.id === '0609'
}

/** Returns the name of what goes to a guest together with this function (`PciDevice.card`). */
export function cardOf({ card }: PciDevice): string {
  return card
}

/** Is the device on a root bus (`…/pci0000:00/0000:00:02.0`)? `null` when its path does not tell. */
export function onRootBus(device: PciDevice): boolean | null {
  if (/\/pci[0-9a-f]+:[0-9a-f]{2}\/[^/]+$/.test(device.path)) return true
  return device.parent === null ? null : false
}

const DEVICES = '/sys/bus/pci/devices'

/** The sources of facts about devices: the machine's files, and what is known of IDs. */
interface Sources {
  reader: Reader
  deviceNames: DeviceNames
  modules: ModuleTables
}

/**
 * Returns every PCI function of the machine in address order, and the addresses of those that are there but may not be
 * read (with a lenient reader only). `warn` is told of a device that vanished while it was read. A function that
 * `groupOf` does not have is asked for its IOMMU group itself.
 * Throws a UserError with code `no-pci` or `no-sysfs` when there is no PCI bus in the tree, `denied` when nothing of it
 * may be read, or `unreadable` when a device cannot be read or understood.
 */
export function readPciDevices(
  machine: Sources,
  warn: (message: string) => void,
  groupOf: ReadonlyMap<string, number>,
): { devices: PciDevice[]; unread: string[] } {
  const { reader } = machine
  const unread: string[] = []
  const { length } = reader.denials
  const addresses = reader.list(DEVICES)
  if (addresses === undefined) {
    // Nothing is of use without the list: not even a lenient reader goes on.
    const denial = reader.denials[length]
    if (denial !== undefined) throw new UserError('denied', denial)
    const sysfs = reader.exists('/sys/bus') || reader.exists('/sys/devices')
    throw new UserError(
      sysfs ? 'no-pci' : 'no-sysfs',
      sysfs
        ? `${DEVICES}: absent: this machine has no PCI bus`
        : `${reader.root}: no sysfs here (no ${DEVICES}); --root and --machine want a folder that holds sys/ and proc/`,
    )
  }
  const found: { device: PciDevice; identity: Identity }[] = []
  let whole = false
  // One device tells it for all.
  const isWhole = (path: string): boolean => {
    whole ||= reader.exists(`${path}/remove`)
    return whole
  }
  for (const address of addresses) {
    if (!isAddress(address)) throw new UserError('unreadable', `${DEVICES}/${address}: not a PCI address`)
    const known = reader.denials.length
    const path = reader.resolve(`${DEVICES}/${address}`)
    const read = path === undefined ? undefined : readDevice(machine, address, path, groupOf, isWhole)
    if (read !== undefined) found.push(read)
    else if (reader.denials.length > known) unread.push(address)
    else if (path !== undefined && reader.list(path)?.length)
      throw new UserError('unreadable', `${path}: no uevent in it, nor class, vendor and device`)
    else warn(`${address} vanished while it was being read`)
  }
  if (found.length === 0 && unread.length > 0) throw new UserError('denied', reader.denials.at(-1) ?? '')
  const modules = machine.modules.claiming(found.map(({ identity }) => identity))
  const devices = found.map(({ device }, index) => Object.assign(device, { modules: modules[index] ?? null }))
  const shown = bootDisplay(reader)
  if (shown !== undefined && devices.some(({ address }) => address === shown))
    for (const device of devices.filter(isDisplay)) device.bootVga = device.address === shown
  return { devices: devices.sort((one, other) => compareAddresses(one.address, other.address)), unread }
}

/** Reads all of a device but its modules, which are looked up for all devices together. */
function readDevice(
  { reader, deviceNames }: Sources,
  address: string,
  path: string,
  groupOf: ReadonlyMap<string, number>,
  isWhole: (path: string) => boolean,
): { device: PciDevice; identity: Identity } | undefined {
  const identity = readIdentity(reader, path)
  if (identity === undefined) return undefined
  const classId = identity.pciClass.slice(0, 4)
  const progIf = identity.pciClass.slice(4)
  const bridge = BRIDGES.has(classId)
  const owner = reader.later(() => (bridge ? null : physicalFunction(reader, path)))
  const group = reader.later(() => groupNumber(`${path}/iommu_group`, reader.linkName(`${path}/iommu_group`)))
  const known = {
    address,
    class: { id: classId, progIf, name: deviceNames.class(classId) },
    vendor: { id: identity.vendor, name: deviceNames.vendor(identity.vendor) },
    device: { id: identity.device, name: deviceNames.device(identity.vendor, identity.device) },
    subsystem: identity.subsystem,
    driver: identity.driver,
    modules: null,
    bridge,
    bootVga: classId === '0300' ? readBootVga(reader, path) : false,
    parent: parentAddress(path),
    reset: readReset(reader, path, isWhole),
    group: groupOf.get(address) ?? group(),
    path,
  }
  const device: PciDevice = withLater(known, {
    revision: reader.later(() => readRevision(reader, `${path}/revision`)),
    numaNode: reader.later(() => readDeviceNode(reader, path)),
    card: () => (owner() === null ? slotOf(address) : address),
    physicalFunction: owner,
  })
  return { device, identity }
}

function readRevision(reader: Reader, file: string): string | null {
  const text = reader.text(file)
  return text === undefined ? null : parseHexId(file, text, 2)
}

function readDeviceNode(reader: Reader, path: string): number | null {
  const node = Number(reader.text(`${path}/numa_node`) ?? -1)
  return Number.isInteger(node) && node >= 0 ? node : null
}

function groupNumber(file: string, name: string | undefined): number | null {
  if (name === undefined) return null
  if (!/^\d{1,9}$/.test(name)) throw new UserError('unreadable', `${file}: ${JSON.stringify(name)} is no group number`)
  return Number(name)
}

/** Returns the nearest folder above that is a PCI device: a bridge, or the VMD controller that owns the domain. */
function parentAddress(path: string): string | null {
  const above = path.split('/').slice(0, -1)
  return above.reverse().find(isAddress) ?? null
}

/** Returns the function that a virtual function's link leads to (Documentation/PCI/pci-iov-howto.rst). */
function physicalFunction(reader: Reader, path: string): string | null {
  const target = reader.resolve(`${path}/physfn`)
  return target === undefined ? null : target.slice(target.lastIndexOf('/') + 1)
}

/**
 * Returns the address of the GPU whose display showed the boot. Linux 7.0 says so, of a GPU of any class that its driver
 * has; `boot_vga` is of VGA controllers alone, and one of them has it whatever the firmware drew on.
 * Source: Documentation/ABI/testing/sysfs-class-drm.
 */
function bootDisplay(reader: Reader): string | undefined {
  const cards = (reader.list('/sys/class/drm') ?? []).filter((name) => /^card\d+$/.test(name))
  const shown = cards.find((name) => reader.text(`/sys/class/drm/${name}/boot_display`)?.trim() === '1')
  return shown && reader.resolve(`/sys/class/drm/${shown}/device`)?.replace(/^.*\//, '')
}

function readBootVga(reader: Reader, path: string): boolean | null {
  const text = reader.text(`${path}/boot_vga`)
  return text === undefined ? null : text.trim() === '1'
}
