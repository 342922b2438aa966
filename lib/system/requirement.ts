import type { PlannedSetting, Setting } from '../change/settings.ts'
import type { GuestSoftware } from './packages.ts'

/**
 * One thing that must be so on a host from the next boot on: what was decided, whatever comes to say it. A backend
 * renders it: into files and the tools that keep settings (`render-files.ts`), or into a NixOS module of our own
 * (`render-nix.ts`).
 */
export type Requirement = Pick<PlannedSetting, 'reason' | 'owners' | 'request'> & RequiredState

export type RequiredState =
  /** The kernel is booted with this argument; of a list, with this member: `vfio-pci.ids=10de:1cb6`. */
  | { kind: 'argument'; token: string }
  /** The module takes every function with this ID. `builtin`, `loadable`: what it is in some of the kernels. */
  | { kind: 'id'; module: string; id: string; builtin: boolean; loadable: boolean }
  /** vfio-pci takes this one function, written as `bootScriptFunction` does. */
  | { kind: 'address'; function: string }
  /** The initramfs loads the module, which is made of `parts`, in front of `drivers` of displays. */
  | { kind: 'early'; module: string; parts: readonly string[]; drivers: readonly string[] }
  /** The module is loaded before this driver. */
  | { kind: 'order'; module: string; driver: string }
  /** No device that stays with the host has this driver. */
  | { kind: 'unneeded'; driver: string }
  /** Software for guests is installed. */
  | { kind: 'software'; need: GuestSoftware }
  /** All CPUs start with this governor. */
  | { kind: 'governor'; name: string }
  | { kind: 'sysctl'; name: string; value: string }
  /** `options MODULE OPTIONS…`, as modprobe.d(5) has it. */
  | { kind: 'module-options'; module: string; options: readonly string[] }
  /** One line as udev(7) has it. */
  | { kind: 'udev-rule'; rule: string }
  /** Members of the group may lock so much memory: KiB, or `unlimited`. */
  | { kind: 'memlock'; group: string; limit: string }
  /** A unit of systemd has this property. */
  | { kind: 'unit-property'; unit: 'system.slice' | 'user.slice' | 'init.scope'; name: string; value: string }
  /** What a file says, or a tool keeps, on every system alike. */
  | { kind: 'setting'; setting: Setting }
  // Those below are rendered by modules alone: on other systems they are settings of what sets up network and guests.
  /** A bridge with a card as its port. `mac`: the card's, for the bridge. With `vlan`, guests are in it, and the host stays as it is. */
  | { kind: 'bridge'; name: string; port: string; mac: string | undefined; vlan: number | undefined }
  | { kind: 'tap'; name: string; user: string; bridge: string | undefined }
  /** libvirt runs. */
  | { kind: 'libvirt' }
  /** A line of libvirt's qemu.conf. */
  | { kind: 'qemu-conf'; line: string }

/** The requirements of one kind, in their order. */
export function requirementsOf<K extends RequiredState['kind']>(
  requirements: readonly Requirement[],
  kind: K,
): Extract<Requirement, { kind: K }>[] {
  return requirements.filter((one): one is Extract<Requirement, { kind: K }> => one.kind === kind)
}
