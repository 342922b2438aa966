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
export type DeviceBoard = Pick<GuestBoard, 'chipset' | 'preset' | 'pinning'>

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
  /** Reads what is decided from. Throws a UserError with code `usage` for an option of a wrong form. */
  read?(machine: Machine, given: Arguments): Facts
  /** Throws a UserError for an option of a wrong form, and for a device that is not there or cannot be had. */
  decide(given: Arguments, facts: BoardFacts & Facts, remarks: Remarks): Decided
  /** Must other processes map the guest's memory? */
  sharesMemory?(guest: Decided): boolean
  /** The host's files that must be there; `images` are opened by QEMU's own user. */
  files?(given: Arguments): { images?: readonly string[]; others?: readonly string[] }
  /** What a person should know of this host before the guest is started. */
  warnings?(machine: Machine, given: Arguments): string[]
  /** Its elements of `<devices>`. Source: https://libvirt.org/formatdomain.html */
  xml(guest: DeviceBoard & Decided & Beside, versions: Versions): XmlElement[]
  /** Arguments for the QEMU under libvirt, which has no element for it. */
  passedOn?(guest: Decided, versions: Versions): string[]
  /** QEMU's arguments, in groups of a line each. Source: qemu-system(1); QEMU, docs/system/devices. */
  qemu(guest: GuestBoard & Decided & Beside): string[][]
  /** Lines of shell before QEMU is started. */
  start?(guest: Decided): string
  /** Lines for QEMU's monitor that a person may want, for the script's comment. */
  monitor?(guest: Decided): string[]
  /**
   * Its elements that a patch adds, by name, and what tells two of one name apart: `@type` is an attribute,
   * `source@dev` a child's, `source/vendor` all attributes of a grandchild.
   */
  match?: Readonly<Record<string, readonly string[]>>
  /** Adds to a domain what `match` and `xml` cannot. */
  patch?(text: string, guest: DeviceBoard & Decided & Beside, versions: Versions, remarks: Remarks): string
  /** Does `--remove DEVICE` name this element? `addresses` are those of the machine's devices that it names. */
  removes?(element: ParsedElement, named: string, addresses: readonly string[]): boolean
}

/** Is any of its options given? A device without options goes along with others. */
export function isGiven({ options }: { options: readonly Option[] }, given: Arguments): boolean {
  return options.length === 0 || options.some(({ name }) => given.list(name).length > 0)
}
