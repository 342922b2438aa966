import type { Directive } from '../edit/modprobe.ts'

// What a boot does until all drivers have their devices, as far as it decides which driver gets which.

/**
 * A place that causes something: `/etc/modprobe.d/vfio.conf:3: options vfio-pci ids=10de:1cb6`. In front of what is in
 * an initramfs stands its path: `/boot/initrd.img-6.1: /etc/modprobe.d/…`.
 */
export type Cause = string

/** An entry of a boot menu, or a unified image. */
export interface MenuEntry {
  title: string
  /** The file that says so: the menu, the entry's own file, or the unified image. */
  file: string
  /** The installed kernel that it boots; `null`: none of those that have modules here. */
  release: string | null
  /** The path of the kernel (or unified image); `null` where it is in no mounted file system. */
  kernel: string | null
  /** The images that it hands to the kernel, in order; `found`: the path is one that is there. */
  images: { path: string; found: boolean }[]
  /** Its kernel arguments. */
  line: string
  /** Is it for when nothing else boots? */
  recovery: boolean
  /** Is it booted when nobody chooses? `null`: that cannot be told. */
  isDefault: boolean | null
}

/** A module that is loaded by its name. */
export interface LoadStep {
  kind: 'load'
  module: string
  /** The options that stand beside the name, after those of modprobe.d. */
  options: string
  /** Does the program that loads it obey `blacklist` for this very module? */
  obeysBlacklist: boolean
  cause: Cause
}

/** One thing that happens at boot, in order. */
export type BootStep =
  | LoadStep
  /** The boot script of this toolkit gives these functions (each as `bootScriptFunction` writes it) to vfio-pci. */
  | { kind: 'boot-script'; functions: readonly string[]; cause: Cause }
  /** udev loads what the modaliases of all devices name, in parallel; `beside`: what is loaded at the same time. */
  | { kind: 'coldplug'; beside: readonly LoadStep[]; cause: Cause }
  /** The device gets this driver, whatever had it: driverctl's override. */
  | { kind: 'override'; address: string; driver: string; cause: Cause }
  /** A program that is not known here writes driver_override, new_id, bind or unbind; it names these addresses. */
  | { kind: 'unknown-script'; addresses: readonly string[]; cause: Cause }

/** One part of a boot: the initramfs, or the root file system. */
export interface BootStage {
  /** The directives that modprobe reads in it, in kmod's order. */
  modprobe: readonly Directive[]
  /** Is its modprobe that of busybox, which reads `vfio_pci.ids=` of the command line and not `vfio-pci.ids=`? */
  busybox: boolean
  /** The modules that are in it, with `_` in names; `null`: every module of the kernel may be in it. */
  modules: ReadonlySet<string> | null
  steps: readonly BootStep[]
  /** The kernel arguments that name modules to load, in front of all steps or beside the coldplug: `rd.driver.pre`. */
  loadArguments?: readonly { name: string; when: 'first' | 'beside' }[]
  /** The kernel arguments that blacklist modules in this stage alone: `rd.driver.blacklist`. */
  blacklistArguments?: readonly string[]
}
