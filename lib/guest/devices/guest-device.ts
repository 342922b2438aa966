import type { Remarks, Versions } from '../../core/versions.ts'
import type { Hypervisor } from '../../host/hypervisor.ts'
import type { Machine } from '../../host/machine.ts'
import type { Arguments, Option } from '../../terminal/options.ts'
import type { Capabilities } from '../capabilities.ts'
import type { GuestBoard, GuestFirmware } from '../guest.ts'
import type { ParsedElement } from '../libvirt/document.ts'
import type { XmlElement } from '../libvirt/xml-element.ts'
import type { VmSetting, VmTarget } from '../proxmox/vm-target.ts'
import type { BoardRequest, RequestedDevices } from '../request.ts'

/** The facts that any device may be decided from; a device reads those that it alone needs. */
export interface BoardFacts extends Pick<BoardRequest, 'preset' | 'format' | 'chipset'> {
  hypervisor: Hypervisor
  versions: Versions
  capabilities: Capabilities
  firmware: GuestFirmware
  requested: RequestedDevices
}

/** The part of a guest's board that its devices are written from; a domain that is patched has no more of it. */
type DeviceBoard = Pick<GuestBoard, 'chipset' | 'preset' | 'pinning'>

/**
 * One kind of device of a guest: its options, how it is decided, how libvirt and QEMU are told of it, and how it is
 * found again in an existing domain. `Facts` is what it reads of the host, `Decided` its part of the guest, and
 * `Beside` what it needs of other devices to be written.
 */
export interface GuestDevice<Facts, Decided, Beside = object> {
  /** The rows of --help. Lists, and the first of all, ask for a device; the others say how it is attached. */
  options: readonly Option[]
  /** The names of the options that a patch refuses. */
  forNew?: readonly string[]
  /** Reads the facts that it is decided from. Throws a UserError with code `usage` for a wrong option, or `no-user`. */
  read?(machine: Machine, given: Arguments): Facts
  /** Decides its part of the guest. Throws a UserError for a wrong option, and for a device that cannot be had. */
  decide(given: Arguments, facts: BoardFacts & Facts, remarks: Remarks): Decided
  /** Must other processes map the guest's memory? */
  sharesMemory?(guest: Decided): boolean
  /** Returns the host's files that must exist; `images` are opened by QEMU's own user. */
  files?(given: Arguments): { images?: readonly string[]; others?: readonly string[] }
  /** Returns what a person should know of this host before the guest is started. */
  warnings?(machine: Machine, given: Arguments): string[]
  /** Writes its elements of `<devices>`. Source: https://libvirt.org/formatdomain.html */
  xml(guest: DeviceBoard & Decided & Beside, versions: Versions): XmlElement[]
  /** Writes arguments for the QEMU under libvirt, where libvirt has no element for it. */
  passedOn?(guest: Decided, versions: Versions): string[]
  /** Writes what libvirt sets of QEMU's devices by their aliases (8.2), where it has no element for it. */
  overrides?(guest: Decided, versions: Versions): XmlElement[]
  /** Writes QEMU's arguments, in groups of a line each. Source: qemu-system(1); QEMU, docs/system/devices. */
  qemu(guest: GuestBoard & Decided & Beside): string[][]
  /** Returns its settings of a VM of Proxmox; without it, Proxmox has no such device. Source: qm(1). */
  proxmox?(guest: GuestBoard & Decided & Beside, target: VmTarget): VmSetting[]
  /** Writes lines of shell that run before QEMU is started. */
  start?(guest: Decided): string
  /** Writes lines for QEMU's monitor that a person may want; they go into the script's comment. */
  monitor?(guest: Decided): string[]
  /**
   * The elements that a patch adds, by name, with the parts that tell two of one name apart: `@type` is an attribute,
   * `source@dev` a child's, `source/vendor` all attributes of a grandchild.
   */
  match?: Readonly<Record<string, readonly string[]>>
  /** Adds to a domain what `match` and `xml` cannot add. */
  patch?(text: string, guest: DeviceBoard & Decided & Beside, versions: Versions, remarks: Remarks): string
  /** Does `--remove DEVICE` name this element? `addresses` are those of the machine's devices that it names. */
  removes?(element: ParsedElement, named: string, addresses: readonly string[]): boolean
}

/** Is any of the device's options given? A device without options goes along with others. */
export function isDeviceGiven({ options }: { options: readonly Option[] }, given: Arguments): boolean {
  return options.length === 0 || options.some(({ name }) => given.list(name).length > 0)
}
