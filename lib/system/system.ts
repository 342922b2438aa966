import type { CommandChange } from '../change/plan.ts'
import type { Setting } from '../change/settings.ts'
import type { NixItem } from '../edit/nix.ts'
import type { ConfiguredArgument } from '../edit/shell-variables.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { Reader } from '../host/reader.ts'
import type { PackageManager } from './packages.ts'
import type { RequiredState } from './requirement.ts'

/** The system that is read and changed, as adapters see it. */
export interface Host {
  /** Its files. */
  files: Reader
  /** The captured or running machine: /proc and /sys. Not that of `files` when another root is looked at. */
  machine: Reader
  /** Is this the system that runs? Else nothing can be said of the boot that was. */
  running: boolean
  /** Every kernel that is installed. */
  kernels: readonly Kernel[]
}

/** What an adapter found out about present boot entries or images. `ok: null`: could not be seen. */
export interface Observation {
  ok: boolean | null
  /** `/boot/grub/grub.cfg: 2 of 2 normal entries have intel_iommu=on`. */
  proof: string
}

/** Tokens of kept settings that come and go. */
export interface ExternalTokens {
  add: readonly string[]
  remove: readonly string[]
}

/** A part of a system that is known here; `Opened`: the same on one host. */
interface Adapter<Opened> {
  name: string
  /** The page that a person would read. */
  documentation: string
  /** Reads each fact when it is first asked for, and once: what is to see changes of the host is opened anew. */
  open(host: Host): Omit<Opened, 'name'>
}

/** The evidence for a boot loader. `booted`: this boot came from it; `configured`: its files are here. */
export interface BootEvidence {
  kind: 'booted' | 'configured'
  why: string
}

export interface BootloaderAdapter extends Adapter<Bootloader> {
  detect(host: Host): BootEvidence | undefined
}

/** A boot loader on one host. */
export interface Bootloader {
  name: string
  /** The kernel arguments that its files set for the next boot, in the order in which the kernel sees them. */
  configured(): ConfiguredArgument[]
  /** Settings that add these tokens (`vfio-pci.ids=…` with one ID each), where recovery entries do not see them. */
  settings(tokens: readonly { token: string; reason: string }[]): Setting[]
  /**
   * Settings with these tokens in files that programs have made since, for kernels to come, out of what settings of ours
   * say: they go with them.
   */
  derived?(tokens: readonly string[]): Setting[]
  /** The commands that make the files effective; of a loader that keeps arguments itself, what adds and removes these. */
  commands(external?: ExternalTokens): CommandChange[]
  /** Do the entries that would boot now have every one of the tokens (or, with `absent`, none of them)? */
  observe(tokens: readonly string[], absent: boolean): Observation[]
  /** How to reach the boot menu and change the line for one boot. */
  menu(): string
  /** The steps for a person to do it by hand. */
  steps(tokens: readonly string[]): string[]
  /** Its images hold the initramfs too: they are made again with it. */
  embedsInitramfs?: true
  /** Of images that hold the command line: what speaks for it that no image would be left that Secure Boot lets start. */
  unsigned?(): string[]
  /** Is nothing written, and the steps are all that there is? */
  isManual?(): boolean
}

/** What an initramfs has to hold and do. */
export interface InitramfsRequirements {
  /** `vfio-pci` (or `pci-stub`): in the image, and loaded early. */
  module: string
  /** Files of /etc/modprobe.d that must be in it. */
  modprobe: readonly string[]
  /** The boot script that binds by address, run before udev; `null`: none. */
  bootScript: string | null
  /** With it: the drivers of the displays among the chosen functions. */
  drivers: readonly string[]
}

/** An image that a generator makes for a kernel, and that is there; `path`: without links. */
export interface KernelImage {
  release: string
  path: string
}

/** Where the script that binds by address runs. */
export type BootScriptLocation = 'image' | 'root'

export interface InitramfsAdapter extends Adapter<Initramfs> {
  /** The evidence for it. */
  detect(host: Host): string | undefined
}

/** An initramfs generator on one host. */
export interface Initramfs {
  name: string
  /**
   * Where the boot script runs, before udev: in its images, or, as they run no script of ours, on the root file system.
   * `undefined`: nowhere.
   */
  bootScriptLocation(): BootScriptLocation | undefined
  settings(requirements: InitramfsRequirements): Setting[]
  /** Of a generator that keeps its settings itself: what it keeps now. */
  externalTokens?(): string[]
  commands(external?: ExternalTokens): CommandChange[]
  /** The image of each kernel that has one. */
  images(): KernelImage[]
  /** Of modprobe.d its images hold the options in a form of their own: the files themselves are not listed. */
  optionsOnly?: true
  /** The command that lists an image's files, one path somewhere in each line. */
  listCommand(image: string): readonly string[]
  steps(requirements: InitramfsRequirements): string[]
  /** As of `Bootloader`. */
  isManual?(): boolean
}

/** What was decided on by evidence, and what that was; without `adapter`, why nothing could be decided. */
export interface Detected<T> {
  adapter: T | undefined
  /** Did the person name it? */
  named?: true
  why: string
}

/** A family of distributions: what its name decides, which is little; loader and generator are found by evidence. */
export interface Distro {
  name: string
  documentation: string
  /** `ID` values of os-release(5) that belong to it, in lower case, blanks as `-`; or `ID/VARIANT_ID`. */
  ids: readonly string[]
  packages: PackageManager
  /** How one gets a kernel of another configuration; unless told, from a package, or built from its source. */
  kernel?: string
  /** Its system is described in files of a language of its own: one such file of ours binds devices. */
  declarative?: DeclarativeSystem
}

/** A module of our own, which a person imports. */
export interface NixModule {
  /** Where a person would put the file. */
  path: string
  /** The file without any setting; `version`: VERSION_ID of os-release. */
  head(version: string): string
}

/** A system that is described in files of a language of its own. */
export interface DeclarativeSystem {
  /** The module that binds devices, and the one that is the rest of a host. */
  binding: NixModule
  tuning: NixModule
  /** What a module says for a requirement. */
  render(requirement: RequiredState, version: string): NixItem[]
  /** The kernel arguments of the system that boots next. */
  arguments(files: Reader): ConfiguredArgument[]
  /** What the boot script cannot come before, for the person. */
  earlier: string
  /** How to reach the boot menu, and boot without the file. */
  menu: string
  /** How the file comes into effect, and how its going does. */
  steps(path: string): string[]
  undoSteps(path: string): string[]
}

/** What is known of distributions, handed to those who decide: lib imports none of it. */
export interface Adapters {
  bootloaders: readonly Pick<BootloaderAdapter, 'name' | 'documentation'>[]
  initramfs: readonly Pick<InitramfsAdapter, 'name' | 'documentation'>[]
  findDistro(files: Reader): Detected<Distro>
  /** The one that is named, or the one that the evidence is for, opened. */
  findBootloader(host: Host, name: string | undefined): Detected<Bootloader>
  findInitramfs(host: Host, name: string | undefined): Detected<Initramfs>
  /** The one of this name, which the journal has or which was found before; `undefined` where there is none. */
  openBootloader(host: Host, name: string | null | undefined): Bootloader | undefined
  openInitramfs(host: Host, name: string | null | undefined): Initramfs | undefined
}
