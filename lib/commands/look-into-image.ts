import { contentsOfImage, contentsOfListing, type ImageContents } from '../bind/image-contents.ts'
import { runFilter } from '../change/run.ts'
import { readBootImage } from '../host/boot-image.ts'
import type { Reader } from '../host/reader.ts'
import type { Initramfs } from '../system/system.ts'
import { withProgress } from '../terminal/progress.ts'

/**
 * Looks into an image of an initramfs: by ourselves or, where it is of a foreign format, by the program of its generator,
 * which `list` runs (`undefined`: it cannot). Returns a text for a person where neither can tell what is in it.
 */
export async function lookIntoImage(
  files: Reader,
  initramfs: Pick<Initramfs, 'listCommand'>,
  path: string,
  list: (argv: readonly string[]) => Promise<string | undefined>,
): Promise<ImageContents | string> {
  const image = await withProgress(`reading ${path}`, () => readBootImage(files, path, runFilter))
  if (typeof image !== 'string') return contentsOfImage(image)
  const listing = await list(initramfs.listCommand(path))
  return listing === undefined ? image : contentsOfListing(listing)
}
