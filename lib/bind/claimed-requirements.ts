import type { Claim } from '../change/journal.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import { kernelArgumentIn } from '../change/settings.ts'
import { BOOT_SCRIPT } from '../system/boot-script.ts'
import type { Initramfs, InitramfsRequirements } from '../system/system.ts'

// What claims promise of the machine after the next boot.

/** The functions that were bound. */
export function boundFunctions(claims: readonly Claim[]): BoundFunction[] {
  const known = new Map<string, BoundFunction>()
  for (const { owner, entry } of claims) {
    const one = entry.entry.functions.find(({ address }) => address === owner)
    if (one !== undefined) known.set(owner, one)
  }
  return [...known.values()]
}

/** What the boot entries must carry. */
export function claimedArguments(claims: readonly Claim[]): string[] {
  return [
    ...new Set(
      claims.flatMap(({ setting, entry: { entry } }) => kernelArgumentIn(setting, [entry.adapters.bootloader]) ?? []),
    ),
  ]
}

/** What the images must hold: the module, and the files that say what it takes. */
export function claimedRequirements(claims: readonly Claim[]): InitramfsRequirements | null {
  const inImage = claims.filter(({ entry }) => entry.entry.adapters.initramfs !== null)
  const ids = inImage.flatMap(({ setting }) => (setting.kind === 'modprobe-id' ? [setting] : []))
  const override = inImage.find(({ setting }) => setting.path.endsWith(BOOT_SCRIPT))?.setting.path ?? null
  if (ids.length === 0 && override === null) return null
  const modprobe = [...new Set(ids.map(({ path }) => path))]
  return { module: ids[0]?.module ?? 'vfio-pci', modprobe, bootScript: override, drivers: [] }
}

/** The name of the generator that the claims' images are made by; those that are in no image have none. */
export function claimedGenerator(claims: readonly Claim[]): string | null {
  return (
    claims
      .map(({ entry }) => entry.entry.adapters.initramfs)
      .filter((name) => name !== null)
      .at(-1) ?? null
  )
}

/** The files among the needs. */
export function requiredFiles({ modprobe, bootScript }: InitramfsRequirements): string[] {
  return [...modprobe, ...(bootScript === null ? [] : [bootScript])]
}

/** What a list of the files of a generator's image lacks. */
export function missingInImage(
  listing: string,
  requirements: InitramfsRequirements,
  builtin: boolean,
  { optionsOnly }: Pick<Initramfs, 'optionsOnly'>,
): string[] {
  const module = new RegExp(`/${requirements.module.replace(/[-_]/g, '[-_]')}\\.ko`)
  const files = requiredFiles(requirements).filter((path) => !optionsOnly && !listing.includes(path.slice(1)))
  return [...(builtin || module.test(listing) ? [] : [requirements.module]), ...files]
}
