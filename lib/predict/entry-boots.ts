import type { Kernel } from '../host/installed-kernels.ts'
import type { PciDevice } from '../host/pci.ts'
import type { Reader } from '../host/reader.ts'
import type { BootStage, MenuEntry } from '../system/boot.ts'
import { isMicrocode } from '../system/booted-images.ts'
import type { Adapters, Bootloader, ExternalTokens, Host, Initramfs } from '../system/system.ts'
import type { Boot, UnknownStage } from './predict.ts'

/** A boot by an entry of the menu. */
export interface EntryBoot {
  entry: MenuEntry
  /** The boot; a text where it is not known what the entry boots. */
  boot: Boot | string
}

/** The system, as far as boots are read from it. */
export interface BootSystem {
  host: Host
  adapters: Adapters
  bootloader: Bootloader | undefined
  initramfs: Initramfs | undefined
  /** The entries of the menu. */
  entries: readonly MenuEntry[]
  devices: readonly PciDevice[]
  /** What a kernel's tables name for each of the devices. */
  candidateModules: (kernel: Kernel) => (readonly string[] | null)[]
  /** What the root file system does, for a kernel. */
  rootStage: (release: string) => BootStage
}

/** Returns the function with its answers kept: entries of one kernel share what is read for it. */
export function eachOnce<T>(read: (release: string) => T): (release: string) => T {
  const known = new Map<string, T>()
  return (release) => {
    const found = known.has(release) ? (known.get(release) as T) : read(release)
    known.set(release, found)
    return found
  }
}

/** The file of entries that are not known: the line of this boot stands for theirs. */
export const BOOTED = '/proc/cmdline'

/** Returns a reader of what is in an image, or why that cannot be told. */
export type ReadImage = (path: string) => Promise<Reader | string>

/** Returns every boot of the present files: what its entry says, and what its image does. */
export async function readEntryBoots(system: BootSystem, readImage: ReadImage): Promise<EntryBoot[]> {
  const stages = new Map<string, Boot['initramfs']>()
  const boots: EntryBoot[] = []
  for (const entry of menuEntries(system)) {
    const stageFor = async (release: string): Promise<Boot['initramfs']> => {
      const key = [release, ...entry.images.map(({ path }) => path)].join('\n')
      if (!stages.has(key)) stages.set(key, await readStage(system, entry, release, readImage))
      return stages.get(key) ?? null
    }
    const kernel = kernelOf(system, entry)
    const boot = typeof kernel === 'string' ? kernel : bootOf(system, kernel, entry, await stageFor(kernel.release))
    boots.push({ entry, boot })
  }
  return boots
}

/** Returns the entries of the menu; where none are known, one for each kernel, with the line of this boot. */
export function menuEntries({ host, entries, initramfs }: BootSystem): readonly MenuEntry[] {
  if (entries.length > 0) return entries
  const images = initramfs?.images() ?? []
  return host.kernels.map(({ release }) => ({
    title: `Linux ${release}`,
    file: BOOTED,
    release,
    kernel: null,
    images: images.filter((one) => one.release === release).map(({ path }) => ({ path, found: true })),
    line: host.machine.optionalText(BOOTED)?.trim() ?? '',
    ...{ recovery: false, isDefault: null },
  }))
}

export function kernelOf({ host }: BootSystem, { release }: MenuEntry): Kernel | string {
  const kernel = host.kernels.find((one) => one.release === release)
  return kernel ?? `${release === null ? 'its kernel' : `Linux ${release}`} has no modules here`
}

/** Returns the boot of a kernel with the line of an entry, and with what its initramfs does. */
export function bootOf(system: BootSystem, kernel: Kernel, entry: MenuEntry, initramfs: Boot['initramfs']): Boot {
  const { devices, candidateModules, rootStage } = system
  const modules = candidateModules(kernel)
  return {
    ...{ kernel, initramfs, line: { text: entry.line, file: entry.file }, root: rootStage(kernel.release) },
    modules: new Map(devices.map((device, index) => [device, modules[index] ?? null])),
  }
}

/** Reads what the images of an entry do. Images with nothing but microcode in them do nothing. */
async function readStage(
  system: BootSystem,
  { images }: MenuEntry,
  release: string,
  readImage: ReadImage,
): Promise<BootStage | UnknownStage | null> {
  const main = images.filter(({ path }) => !isMicrocode(path))
  const [image, ...more] = main
  if (image === undefined) return null
  const unknown = (why: string): UnknownStage => ({ why, likely: likelyStage(system, release) })
  if (more.length > 0) return unknown(`${main.map(({ path }) => path).join(' and ')} are booted together`)
  if (!image.found) return unknown(`${image.path} is in no mounted file system`)
  const inside = await readImage(image.path)
  if (typeof inside === 'string') return unknown(inside)
  const stage = system.adapters.stageOf(inside, release)
  return stage ?? unknown(`${image.path}: made by no initramfs generator that is known here`)
}

/**
 * Returns what the image of a kernel most likely does: what its generator would make, after these changes of what it
 * keeps itself, or what the root has udev do.
 */
export function likelyStage(
  { initramfs, rootStage }: BootSystem,
  release: string,
  external?: ExternalTokens,
): BootStage {
  return initramfs?.nextStage(release, external) ?? rootStage(release)
}
