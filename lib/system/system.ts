import type { ClaimKind } from '../change/journal-entry.ts'
import type { CommandChange } from '../change/plan.ts'
import type { Setting } from '../change/settings.ts'
import type { NixItem } from '../edit/nix.ts'
import type { ConfiguredArgument } from '../edit/shell-variables.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { Reader } from '../host/reader.ts'
import type { BootStage, MenuEntry } from './boot.ts'
import type { PackageManager } from './packages.ts'
import type { RequiredState } from './requirement.ts'

/** The system that is read and changed, as adapters see it. */
export interface Host {
  /** The files of the system. */
  files: Reader
  /** The captured or running machine: /proc and /sys. It is not that of `files` when another root is looked at. */
  machine: Reader
  /** Is this the system that runs? If not, nothing can be said about its last boot. */
  running: boolean
  /** Every kernel that is installed. */
  kernels: readonly Kernel[]
}

/** A finding of an adapter about present boot entries or images. `ok: null`: they could not be seen. */
export interface Observation {
  ok: boolean | null
  /** `/boot/grub/grub.cfg: 2 of 2 normal entries have intel_iommu=on`. */
  proof: string
}

/** Tokens to add to, and to remove from, the settings that a loader or generator keeps itself. */
export interface ExternalTokens {
  add: readonly string[]
  remove: readonly string[]
}

/** The code for one boot loader or initramfs generator; `Opened`: the same for one host. */
interface Adapter<Opened> {
  name: string
  /** The address of the page that a person would read. */
  documentation: string
  /** The sentence that says how it was proven: by real boots, the real tool, real files of it, or its documentation. */
  proven: `${'booted' | 'real tool' | 'real files' | 'documentation'}: ${string}`
  /** Returns the adapter for a host. It reads each fact once, on first use: open it anew to see changes of the host. */
  open(host: Host): Omit<Opened, 'name'>
}

/** The evidence for a boot loader. `booted`: this boot came from it; `configured`: its files are present. */
export interface BootEvidence {
  kind: 'booted' | 'configured'
  why: string
}

/** An image that is built from a Containerfile, not on this machine: what its build takes instead of our changes. */
export interface ImageBuild {
  /** The name of the initramfs generator that runs in the build. */
  initramfs: string
  /** The file of that generator which says that the initramfs is of ours. */
  initramfsFile: string
  /** The command that package names follow in the build, where the system installs none in place. */
  install: readonly string[]
  /** Returns the file that gives every machine with the image these kernel arguments: one for each kind of plan. */
  argumentsFile(line: readonly string[], kind: ClaimKind): { path: string; text: string }
  /**
   * Returns the steps that bring the files below `folder` into the image; `initramfs`: its initramfs changes too;
   * `commands`: those that run in the build.
   */
  steps(folder: string, more: { initramfs: boolean; commands: readonly (readonly string[])[] }): string[]
}

export interface BootloaderAdapter extends Adapter<Bootloader> {
  detect(host: Host): BootEvidence | undefined
}

/** A boot loader on one host. */
export interface Bootloader {
  name: string
  /** Returns the kernel arguments that its files set for the next boot, in the order that the kernel sees. */
  configured(): ConfiguredArgument[]
  /** Returns settings that add these tokens (`vfio-pci.ids=…` with one ID each), unseen by recovery entries. */
  settings(tokens: readonly { token: string; reason: string }[]): Setting[]
  /**
   * Returns settings with these tokens in files for future kernels, which programs have since made from our settings:
   * they are removed together with ours.
   */
  derived?(tokens: readonly string[]): Setting[]
  /** Returns the commands that make the files effective, or that change the arguments which the loader keeps itself. */
  commands(external?: ExternalTokens): CommandChange[]
  /** Do the entries that would boot now have every one of the tokens (or, with `absent`, none of them)? */
  observe(tokens: readonly string[], absent: boolean): Observation[]
  /** Returns the entries that its menu shows, with those for recovery. */
  entries(): MenuEntry[]
  /** Returns the commands by which a tool of the loader makes the images again that its entries boot. */
  imageSteps?(): string[]
  /** Returns the text on how to reach the boot menu and change the kernel command line for one boot. */
  menu(): string
  /** Returns the steps for a person to add the tokens by hand. */
  steps(tokens: readonly string[]): string[]
  /** Set where the loader's images hold the initramfs too: they are made again with it. */
  embedsInitramfs?: true
  /** Returns the evidence that no image would be left that Secure Boot starts, if images hold the command line. */
  unsigned?(): string[]
  /** Does the adapter write nothing, and only tell the steps? */
  isManual?(): boolean
  /** Set where the system is an image that a person may build: `--output` writes what its build needs. */
  build?: ImageBuild
}

/** The requirements for an initramfs: its contents, and what it does. */
export interface InitramfsRequirements {
  /** The module that is in the image and loaded early: `vfio-pci` or `pci-stub`. */
  module: string
  /** The files of /etc/modprobe.d that must be in the image. */
  modprobe: readonly string[]
  /** The path of the boot script that binds by address and runs before udev; `null`: none. */
  bootScript: string | null
  /** The drivers of the displays among the selected functions, for use with the boot script. */
  drivers: readonly string[]
}

/** A present image that a generator made for a kernel; `path` has no links in it. */
export interface KernelImage {
  release: string
  path: string
}

/** The place where the script that binds by address runs: the initramfs image or the root file system. */
export type BootScriptLocation = 'image' | 'root'

export interface InitramfsAdapter extends Adapter<Initramfs> {
  /** Returns the evidence for the generator; `undefined`: there is none. */
  detect(host: Host): string | undefined
  /** Returns the boot of an image; `undefined`: it is none of this generator. `image` reads what is in it. */
  stageOf(image: Reader, release: string): BootStage | undefined
}

/** An initramfs generator on one host. */
export interface Initramfs {
  name: string
  /**
   * Returns where the boot script runs before udev: in its images or, if those run no script of ours, on the root file
   * system; `undefined`: nowhere.
   */
  bootScriptLocation(): BootScriptLocation | undefined
  settings(requirements: InitramfsRequirements): Setting[]
  /** The list of modules to load whose lines may have options, for a generator that has one. */
  modulesWithOptions?: string
  /** Returns the tokens of the present settings, where the generator keeps its settings itself. */
  externalTokens?(): string[]
  commands(external?: ExternalTokens): CommandChange[]
  /** Returns the image of each kernel that has one. */
  images(): KernelImage[]
  /**
   * Returns the boot of an image that it makes of the present files for a kernel; `external`: after these changes of
   * what it keeps itself.
   */
  nextStage(release: string, external?: ExternalTokens): BootStage
  /** Set where there is no image to make: its settings are effective as they stand. */
  withoutImages?: true
  /** Set where each run makes images of its own with entries of their own, and the former ones stay as they are. */
  makesEntries?: true
  /** Returns the program that hands each new image on to where a boot loader has it, if its commands run one. */
  handsOn?(): string | undefined
  /** Set where images hold the options of modprobe.d in a form of their own: the files themselves are not listed. */
  optionsOnly?: true
  /** Returns the command that lists an image's files, with one path somewhere in each line. */
  listCommand(image: string): readonly string[]
  steps(requirements: InitramfsRequirements): string[]
  /** Does the adapter write nothing, and only tell the steps? */
  isManual?(): boolean
}

/** An adapter, and `why` it was chosen: by evidence or by name; without `adapter`, `why` none could be chosen. */
export interface Detected<T> {
  adapter: T | undefined
  /** Did the person name the adapter? */
  named?: true
  /** `false`: what is written in place, by whomever, does not last here, so no steps for that are told. */
  lasts?: false
  why: string
}

/** A family of distributions. Its name decides little: boot loader and initramfs generator are found by evidence. */
export interface Distro {
  name: string
  documentation: string
  /** The `ID` values of os-release(5) that belong to it, in lower case, blanks as `-`; or `ID/VARIANT_ID`. */
  ids: readonly string[]
  packages: PackageManager
  /** The way to get a kernel of another configuration; without it, from a package or built from source. */
  kernel?: string
  /** Set where files in a language of its own describe the system: one such file of ours binds devices. */
  declarative?: DeclarativeSystem
}

/** A module of our own, which a person imports. */
export interface NixModule {
  /** The path where a person would put the file. */
  path: string
  /** Returns the text of the file without any setting; `version`: VERSION_ID of os-release. */
  head(version: string): string
}

/** A system that is described by files in a language of its own. */
export interface DeclarativeSystem {
  /** The module that binds devices; `tuning`: the module for the rest of a host's settings. */
  binding: NixModule
  tuning: NixModule
  /** Returns the items of a module that express a requirement. */
  render(requirement: RequiredState, version: string): NixItem[]
  /** Returns the kernel arguments of the system that boots next. */
  arguments(files: Reader): ConfiguredArgument[]
  /** The note for the person on what the boot script cannot come before. */
  earlier: string
  /** The text on how to reach the boot menu and boot without the file. */
  menu: string
  /** Returns the steps that bring the file into effect; `undoSteps`: those that bring its removal into effect. */
  steps(path: string): string[]
  undoSteps(path: string): string[]
}

/** The adapters of distributions, as lib gets them handed in: it imports none of them. */
export interface Adapters {
  bootloaders: readonly Pick<BootloaderAdapter, 'name' | 'documentation' | 'proven'>[]
  initramfs: readonly Pick<InitramfsAdapter, 'name' | 'documentation' | 'proven'>[]
  findDistro(files: Reader): Detected<Distro>
  /** Returns, opened, the adapter that is named, or the one that the evidence is for. */
  findBootloader(host: Host, name: string | undefined): Detected<Bootloader>
  findInitramfs(host: Host, name: string | undefined): Detected<Initramfs>
  /** Returns the adapter of this name, which the journal has or which was found before; `undefined`: there is none. */
  openBootloader(host: Host, name: string | null | undefined): Bootloader | undefined
  openInitramfs(host: Host, name: string | null | undefined): Initramfs | undefined
  /** Returns the images that may boot where no menu could be read. */
  firmwareEntries(host: Host): MenuEntry[]
  /** Returns the boot of an image, whichever generator made it; `undefined`: none that is known here. */
  stageOf(image: Reader, release: string): BootStage | undefined
}
