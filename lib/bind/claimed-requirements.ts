import type { Claim } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import { kernelArgumentIn } from '../change/settings.ts'
import { BOOT_SCRIPT } from '../system/boot-script.ts'
import type { Initramfs, InitramfsRequirements } from '../system/system.ts'
import type { ImageContents } from './image-contents.ts'

// The state of the machine after the next boot, as the claims in the journal require it.

/** Returns the functions that the claims bind. */
export function boundFunctions(claims: readonly Claim[]): BoundFunction[] {
  const known = new Map<string, BoundFunction>()
  for (const { owner, entry } of claims) {
    const one = entry.entry.functions.find(({ address }) => address === owner)
    if (one !== undefined) known.set(owner, one)
  }
  return [...known.values()]
}

/** Returns the kernel arguments that the boot entries must have. */
export function claimedArguments(claims: readonly Claim[]): string[] {
  return [
    ...new Set(
      claims.flatMap(({ setting, entry: { entry } }) => kernelArgumentIn(setting, [entry.adapters.bootloader]) ?? []),
    ),
  ]
}

/** Returns the requirements for images: the module, and the files that name its devices; `null`: there are none. */
export function claimedRequirements(claims: readonly Claim[]): InitramfsRequirements | null {
  const inImage = claims.filter(({ entry }) => entry.entry.adapters.initramfs !== null)
  const ids = inImage.flatMap(({ setting }) => (setting.kind === 'modprobe-id' ? [setting] : []))
  const override = inImage.find(({ setting }) => setting.path.endsWith(BOOT_SCRIPT))?.setting.path ?? null
  if (ids.length === 0 && override === null) return null
  const modprobe = [...new Set(ids.map(({ path }) => path))]
  return { module: ids[0]?.module ?? 'vfio-pci', modprobe, bootScript: override, drivers: [] }
}

/** Returns the name of the generator that makes the claims' images; `null` where no claim is in an image. */
export function claimedGenerator(claims: readonly Claim[]): string | null {
  return (
    claims
      .map(({ entry }) => entry.entry.adapters.initramfs)
      .filter((name) => name !== null)
      .at(-1) ?? null
  )
}

/** Returns the paths of the files that an image must hold. */
export function requiredFiles({ modprobe, bootScript }: InitramfsRequirements): string[] {
  return [...modprobe, ...(bootScript === null ? [] : [bootScript])]
}

/** Returns the required module and files that an image lacks; `builtin`: the module needs no file. */
export function missingInImage(
  image: ImageContents,
  requirements: InitramfsRequirements,
  builtin: boolean,
  { optionsOnly }: Pick<Initramfs, 'optionsOnly'>,
): string[] {
  const { module } = requirements
  const files = requiredFiles(requirements).filter((path) => !optionsOnly && !image.hasFile(path))
  return [...(builtin || image.hasModule(module) ? [] : [module]), ...files]
}
