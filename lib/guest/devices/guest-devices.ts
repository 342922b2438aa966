import type { Remarks } from '../../core/versions.ts'
import type { Machine } from '../../host/machine.ts'
import type { Arguments } from '../../terminal/options.ts'
import type { GuestBoard } from '../guest.ts'
import { soundCard } from './audio.ts'
import { cardDevices } from './cards.ts'
import { disks } from './disks.ts'
import { installationDisplay } from './display.ts'
import { evdevInput } from './evdev.ts'
import type { BoardFacts } from './guest-device.ts'
import { integratedGpu } from './igd.ts'
import { lookingGlass } from './looking-glass.ts'
import { networkCards } from './nics.ts'
import { opticalDrives } from './optical.ts'
import { scsiController } from './scsi-controller.ts'
import { sharedFolders } from './shares.ts'
import { tpmDevice } from './tpm.ts'
import { usbDevices } from './usb-devices.ts'

/** The devices that are attached to a guest, in the order of --help. */
export const ATTACHED_DEVICES = [
  integratedGpu,
  cardDevices,
  usbDevices,
  opticalDrives,
  disks,
  scsiController,
  networkCards,
  evdevInput,
  lookingGlass,
  sharedFolders,
  soundCard,
] as const

/** The devices on a guest's board; --help names them behind the board's own options. */
export const BUILT_IN_DEVICES = [tpmDevice, installationDisplay] as const

/** Every kind of device that a guest may have. */
export const GUEST_DEVICES = [...ATTACHED_DEVICES, ...BUILT_IN_DEVICES] as const

/**
 * The order in which QEMU gives PCI slots. A guest looks for devices where they were: new kinds come last, but for the one
 * whose slot is fixed.
 */
const SLOT_ORDER: readonly AnyDevice[] = [
  integratedGpu,
  ...[scsiController, disks, opticalDrives, networkCards, cardDevices, usbDevices],
  ...[evdevInput, installationDisplay, soundCard, tpmDevice],
]
export const QEMU_DEVICES = [...SLOT_ORDER, ...GUEST_DEVICES.filter((device) => !SLOT_ORDER.includes(device))]

type AnyDevice = (typeof GUEST_DEVICES)[number]
/** The type that is every member of a union at once. */
type AllOf<Union> = (Union extends unknown ? (each: Union) => void : never) extends (all: infer All) => void
  ? All
  : never

export type DeviceFacts = AllOf<ReturnType<NonNullable<AnyDevice['read']>>>
/** A decided guest: plain data that is written as libvirt XML or as a program that starts QEMU. */
export type Guest = GuestBoard & DecidedDevices
type DecidedDevices = AllOf<ReturnType<AnyDevice['decide']>>

/** Reads the facts that devices are decided from. Throws a UserError: `usage` for a wrong option, `no-user`. */
export function readDevices(machine: Machine, given: Arguments): DeviceFacts {
  return merge(GUEST_DEVICES.map((device) => device.read?.(machine, given)))
}

/** Decides all devices; remarks go where `remarksOn` says. Throws a UserError: `usage`, `no-device`, `two-devices`. */
export function decideDevices(
  given: Arguments,
  facts: BoardFacts & DeviceFacts,
  remarksOn: (device: AnyDevice) => Remarks,
): DecidedDevices {
  return merge(GUEST_DEVICES.map((device) => device.decide(given, facts, remarksOn(device))))
}

function merge<Whole>(parts: readonly unknown[]): Whole {
  return Object.assign({}, ...parts)
}
