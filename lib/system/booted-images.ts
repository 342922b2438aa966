import type { Change, FileChange } from '../change/plan.ts'
import { UserError } from '../core/error.ts'
import type { MenuEntry } from './boot.ts'
import type { Bootloader, Initramfs } from './system.ts'

// A setting that an initramfs holds is in force only if what boots is what is made again.

/** What a plan makes again, and what boots. */
export interface PlannedBoot {
  entries: readonly MenuEntry[]
  initramfs: Pick<Initramfs, 'name' | 'images' | 'steps' | 'handsOn' | 'makesEntries' | 'withoutImages'>
  bootloader: Pick<Bootloader, 'imageSteps'> | undefined
  changes: readonly Change[]
}

/** The name of a kernel that says its version: it is none of the installed ones, then. */
const VERSION = /\d+\.\d+/
/** Archives of microcode alone, which a loader hands over before the initramfs. */
const MICROCODE = /(^|[-_./])(u-?code|microcode|(intel|amd)-?uc|early_ucode)([-_.]|$)/i

/**
 * Checks that each entry which boots an initramfs boots one that the plan makes again. Entries for recovery do not count,
 * nor does microcode, nor an image in no mounted file system where the entry's kernel has one that is made. Returns a
 * note on entries that boot no kernel of this system. Throws a UserError, code `unmade-image`, with the steps by hand.
 */
export function expectImagesMade(planned: PlannedBoot): string[] {
  const { initramfs, entries, changes } = planned
  if (initramfs.makesEntries) return []
  const made = initramfs.images()
  if (made.length === 0 && !initramfs.withoutImages)
    throw refusal(planned, `${initramfs.name} has no initramfs image here`)
  const touched = changes.flatMap((change) => (change.kind === 'command' ? change.touches : []))
  const paths = new Set([...made.map(({ path }) => path), ...touched].map((path) => path.toLowerCase()))
  const releases = new Set<string | null>(made.map(({ release }) => release))
  const handsOn = initramfs.handsOn?.() !== undefined
  const booted = entries.filter(({ recovery }) => !recovery).flatMap((entry) => bootedImage(entry, paths) ?? [])
  const stale = booted.filter(({ entry, isMade }) => !isMade && !(handsOn && releases.has(entry.release)))
  const foreign = stale.filter(({ entry }) => entry.release === null)
  const wrong = stale.filter(({ entry, found }) =>
    entry.release === null
      ? found && (foreign.length === booted.length || (entry.isDefault === true && !VERSION.test(entry.kernel ?? '')))
      : found || !(initramfs.withoutImages || releases.has(entry.release)),
  )
  const [first] = wrong
  if (first !== undefined) {
    const what = initramfs.withoutImages
      ? 'an initramfs, and no generator of one was found'
      : `none that ${initramfs.name} makes again`
    throw refusal(planned, `${titleOf(first.entry)} boots ${first.path}, which is ${what}`, wrong)
  }
  const names = foreign.map(({ entry }) => titleOf(entry)).join(', ')
  return names === '' ? [] : [`Not of a kernel that has its modules here, and so without these settings: ${names}.`]
}

/** Returns notes on the images that entries boot where a person says that no generator makes any: they stay as they are. */
export function imageNotes(entries: readonly MenuEntry[]): string[] {
  const booted = entries.filter(({ recovery }) => !recovery).flatMap((entry) => bootedImage(entry, new Set()) ?? [])
  const paths = [...new Set(booted.map(({ path }) => path))].join(', ')
  return paths === '' ? [] : [`Not made again, and yet booted: ${paths}. It must load no driver of these devices.`]
}

/** Is it, by its name, an archive of nothing but microcode? */
export function isMicrocode(path: string): boolean {
  return MICROCODE.test(imageName(path))
}

interface BootedImage {
  entry: MenuEntry
  path: string
  found: boolean
  isMade: boolean
}

/** Returns the initramfs of an entry: one that is made again, else one that is there; `undefined`: it boots none. */
function bootedImage(entry: MenuEntry, made: ReadonlySet<string>): BootedImage | undefined {
  const images = entry.images
    .filter(({ path }) => !isMicrocode(path))
    .map((image) => ({ entry, ...image, isMade: made.has(image.path.toLowerCase()) }))
  return images.find(({ isMade }) => isMade) ?? images.find(({ found }) => found) ?? images[0]
}

/** Returns a note on the entries that stay as they are because they are for recovery; none where there are none. */
export function recoveryNotes(entries: readonly MenuEntry[]): string[] {
  const titles = [...new Set(entries.filter(({ recovery }) => recovery).map(titleOf))]
  if (titles.length === 0) return []
  return [`${titles.length === 1 ? 'Stays as it is' : 'Stay as they are'}: ${titles.join(', ')}, for recovery.`]
}

const imageName = (path: string): string => path.replace(/.*\//, '')
const titleOf = ({ title, file }: MenuEntry): string => (file === title ? title : `${title} (${file})`)

/** Returns the steps by which a person gives files their new text. */
export function filesByHand(files: readonly Pick<FileChange, 'path' | 'after'>[]): string[] {
  return files.flatMap(({ path, after }) => [
    `Make ${path} say:`,
    ...(after ?? '')
      .trimEnd()
      .split('\n')
      .map((line) => `    ${line}`),
  ])
}

function refusal(
  { initramfs, bootloader, changes }: PlannedBoot,
  what: string,
  unmade: readonly BootedImage[] = [],
): UserError {
  const files = changes.flatMap((change) => (change.kind === 'file' ? [change] : []))
  const commands = changes.flatMap((change) => (change.kind === 'command' ? [change.argv.join(' ')] : []))
  const paths = initramfs.images().map(({ path }) => path)
  const own = bootloader?.imageSteps?.() ?? []
  const makers = initramfs.steps({ module: 'vfio-pci', modprobe: [], bootScript: null, drivers: [] })
  return new UserError('unmade-image', `${what}. Nothing was written; by hand:`, [
    ...filesByHand(files),
    ...commands,
    ...(own.length > 0 || unmade.length > 0 ? own : makers.filter((step) => !/^(echo|In|lsinit)/.test(step))),
    ...unmade.map(
      ({ entry, path }) => `See that ${path} is made again by what put it there: ${titleOf(entry)} boots it.`,
    ),
    ...(unmade.length === 0 || paths.length === 0
      ? []
      : [`Or have it boot what is made again here, and run this again: ${paths.join(', ')}`]),
  ])
}
