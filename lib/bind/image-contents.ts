import type { Reader } from '../host/reader.ts'

/** What is looked for in an image of an initramfs. */
export interface ImageContents {
  /** Is there a file at this path of the root file system? */
  hasFile(path: string): boolean
  /** Is there a file of this kernel module, packed or not? */
  hasModule(name: string): boolean
}

/** The folders of modules: an init that loads them itself need not have the first. */
const MODULES = ['/lib/modules', '/usr/lib/modules']

/** Tells what is in an image that was read. */
export function contentsOfImage(image: Reader): ImageContents {
  return {
    hasFile: (path) => image.exists(path),
    hasModule: (name) => MODULES.some((folder) => hasModuleBelow(image, folder, moduleFile(name))),
  }
}

/** Tells what is in an image by the text of a program that lists it: with one path somewhere in each line. */
export function contentsOfListing(listing: string): ImageContents {
  return {
    hasFile: (path) => listing.includes(path.slice(1)),
    hasModule: (name) => moduleFile(name).test(listing),
  }
}

function moduleFile(name: string): RegExp {
  return new RegExp(`/${name.replace(/[-_]/g, '[-_]')}\\.ko(\\.(gz|xz|zst))?(?!\\S)`)
}

function hasModuleBelow(image: Reader, folder: string, file: RegExp): boolean {
  return (image.list(folder) ?? []).some((name) => {
    const path = `${folder}/${name}`
    return file.test(path) || (image.link(path) === undefined && hasModuleBelow(image, path, file))
  })
}
