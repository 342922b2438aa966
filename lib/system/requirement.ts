import type { PlannedSetting, Setting } from '../change/settings.ts'
import type { GuestSoftware } from './packages.ts'

/**
 * One thing that must be so on a host from the next boot on, as it was decided, independent of the files that say it. A
 * backend renders it into files and the tools that keep settings (`render-files.ts`), or into a NixOS module of our own
 * (`render-nix.ts`).
 */
export type Requirement = Pick<PlannedSetting, 'reason' | 'owners' | 'request'> & RequiredState

export type RequiredState =
  /** The kernel is booted with this argument, or with this member of a list: `vfio-pci.ids=10de:1cb6`. */
  | { kind: 'argument'; token: string }
  /** The module takes every function with this ID. `builtin`, `loadable`: it is that in at least one of the kernels. */
  | { kind: 'id'; module: string; id: string; builtin: boolean; loadable: boolean }
  /** vfio-pci takes this one function, written as `bootScriptFunction` does. */
  | { kind: 'address'; function: string }
  /** The initramfs loads the module, which consists of `parts`, before `drivers`, those of displays. */
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
  /** The module has these options: `options MODULE OPTIONS…` of modprobe.d(5). */
  | { kind: 'module-options'; module: string; options: readonly string[] }
  /** udev has this rule, a line as in udev(7). */
  | { kind: 'udev-rule'; rule: string }
  /** Members of the group may lock this much memory, in KiB or `unlimited`. */
  | { kind: 'memlock'; group: string; limit: string }
  /** A unit of systemd has this property. */
  | { kind: 'unit-property'; unit: 'system.slice' | 'user.slice' | 'init.scope'; name: string; value: string }
  /** A file or a tool has this setting, which is the same on every system. */
  | { kind: 'setting'; setting: Setting }
  // Only modules render those below: on other systems they are settings of programs that set up network and guests.
  /** A bridge has a card as its port, and its `mac`. With `vlan`, guests are in it, and the host stays as it is. */
  | {
      kind: 'bridge'
      name: string
      port: string
      mac: string | undefined
      vlan: number | undefined
      /** What the host itself has in the VLAN. */
      own: { addresses: string[]; gateways: string[]; dns: string[] } | null
    }
  | { kind: 'tap'; name: string; user: string; bridge: string | undefined }
  /** The libvirt service runs. */
  | { kind: 'libvirt' }
  /** libvirt's qemu.conf has this line. */
  | { kind: 'qemu-conf'; line: string }

/** Returns the requirements of one kind, in their order. */
export function requirementsOf<K extends RequiredState['kind']>(
  requirements: readonly Requirement[],
  kind: K,
): Extract<Requirement, { kind: K }>[] {
  return requirements.filter((one): one is Extract<Requirement, { kind: K }> => one.kind === kind)
}
