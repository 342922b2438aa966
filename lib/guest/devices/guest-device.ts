import type { Remarks, Versions } from '../../core/versions.ts'
import type { Hypervisor } from '../../host/hypervisor.ts'
import type { Machine } from '../../host/machine.ts'
import type { Arguments, Option } from '../../terminal/options.ts'
import type { Capabilities } from '../capabilities.ts'
import type { GuestBoard, GuestFirmware } from '../guest.ts'
import type { ParsedElement } from '../libvirt/document.ts'
import type { XmlElement } from '../libvirt/xml-element.ts'
import type { BoardRequest, RequestedDevices } from '../request.ts'

/** All facts that any device may be decided from; a device reads what it alone wants to know. */
export interface BoardFacts extends Pick<BoardRequest, 'preset' | 'format'> {
  hypervisor: Hypervisor
  versions: Versions
  capabilities: Capabilities
  firmware: GuestFirmware
  requested: RequestedDevices
}

/** The part of a guest's board that its devices are written from; of a domain that is patched there is no more. */
type DeviceBoard = Pick<GuestBoard, 'chipset' | 'preset' | 'pinning'>

/**
 * One kind of device of a guest, whole: its options, what is decided of it, how libvirt and QEMU are told, and by what
 * it is found again in a domain that somebody has already. `Facts` is what it reads of the host, `Decided` its part of
 * the guest, and `Beside` what it needs of other devices to be written.
 */
export interface GuestDevice<Facts, Decided, Beside = object> {
  /** Its rows of --help. Lists, and the first of all, ask for a device; the others say how it is attached. */
  options: readonly Option[]
  /** Those of its options that a patch refuses. */
  forNew?: readonly string[]
  /** Reads the facts that it is decided from. Throws a UserError with code `usage` for an option of a wrong form. */
  read?(machine: Machine, given: Arguments): Facts
  /** Decides its part of the guest. Throws a UserError for an option of a wrong form, and for a device that is not there or cannot be had. */
  decide(given: Arguments, facts: BoardFacts & Facts, remarks: Remarks): Decided
  /** Tells whether other processes must map the guest's memory. */
  sharesMemory?(guest: Decided): boolean
  /** Names the host's files that must be there; `images` are opened by QEMU's own user. */
  files?(given: Arguments): { images?: readonly string[]; others?: readonly string[] }
  /** Says what a person should know of this host before the guest is started. */
  warnings?(machine: Machine, given: Arguments): string[]
  /** Writes its elements of `<devices>`. Source: https://libvirt.org/formatdomain.html */
  xml(guest: DeviceBoard & Decided & Beside, versions: Versions): XmlElement[]
  /** Writes arguments for the QEMU under libvirt, where libvirt has no element for it. */
  passedOn?(guest: Decided, versions: Versions): string[]
  /** Writes QEMU's arguments, in groups of a line each. Source: qemu-system(1); QEMU, docs/system/devices. */
  qemu(guest: GuestBoard & Decided & Beside): string[][]
  /** Writes lines of shell that run before QEMU is started. */
  start?(guest: Decided): string
  /** Writes lines for QEMU's monitor that a person may want; they go into the script's comment. */
  monitor?(guest: Decided): string[]
  /**
   * Its elements that a patch adds, by name, and what tells two of one name apart: `@type` is an attribute,
   * `source@dev` a child's, `source/vendor` all attributes of a grandchild.
   */
  match?: Readonly<Record<string, readonly string[]>>
  /** Adds to a domain what `match` and `xml` cannot. */
  patch?(text: string, guest: DeviceBoard & Decided & Beside, versions: Versions, remarks: Remarks): string
  /** Tells whether `--remove DEVICE` names this element; `addresses` are those of the machine's devices that it names. */
  removes?(element: ParsedElement, named: string, addresses: readonly string[]): boolean
}

/** Tells whether any of its options is given. A device without options goes along with others. */
export function isGiven({ options }: { options: readonly Option[] }, given: Arguments): boolean {
  return options.length === 0 || options.some(({ name }) => given.list(name).length > 0)
}
