import type { PlannedSetting } from '../change/settings.ts'

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
  /** Guests have this package, by the system's own name for it. */
  | { kind: 'package'; name: string }

/** The requirements of one kind, in their order. */
export function requirementsOf<K extends RequiredState['kind']>(
  requirements: readonly Requirement[],
  kind: K,
): Extract<Requirement, { kind: K }>[] {
  return requirements.filter((one): one is Extract<Requirement, { kind: K }> => one.kind === kind)
}
