import { readFstab } from '../../lib/host/mounts.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { findPath, kernelFileRelease, packageBaseOf } from './boot-files.ts'
import { type BootEntry, bootsRecovery, ESP_MOUNTS, imagesOf } from './loader-entries.ts'
import { readSection } from './uki-image.ts'

// The entries of boot menus as one type: what they boot is looked for in the file systems that are mounted here.

/** An entry as its menu says it: its paths are those that the loader sees on a partition. */
export interface MenuRow extends Omit<MenuEntry, 'release' | 'kernel' | 'images'> {
  kernel: string
  images: readonly string[]
  /** The kernel's release, where the menu says it. */
  version?: string | undefined
}

/** Returns the entry, with what it boots as paths of this system. `home`: where the entry's own partition is mounted. */
export function toMenuEntry(host: Host, { kernel, images, version, ...row }: MenuRow, home = ''): MenuEntry {
  const found = findBootFile(host.files, kernel, home)
  return {
    ...row,
    release: releaseOfKernel(host, [version ?? '', kernel, found ?? ''], found),
    kernel: found ?? null,
    images: images.map((image) => {
      const path = findBootFile(host.files, image, home)
      return { path: path ?? image, found: path !== undefined }
    }),
  }
}

/** Returns entries of the Boot Loader Specification, type 1; their order and `isDefault` are the caller's. */
export function fromBootEntries(host: Host, entries: readonly BootEntry[]): MenuEntry[] {
  return entries.map((entry) => {
    const { path, title, line, linux, recovery, text } = entry
    // GRUB takes several images from one line, and variables that are mostly empty.
    const [, ...images] = imagesOf(entry).flatMap((one) => one.split(/\s+/).filter((word) => !word.startsWith('$')))
    const version = /^[ \t]*version[ \t]+(.*?)[ \t\r]*$/m.exec(text)?.[1]
    const home = path.replace(/\/loader\/entries\/[^/]*$/, '')
    return toMenuEntry(
      host,
      { title, file: path, kernel: linux, images, line, recovery, isDefault: null, version },
      home,
    )
  })
}

/** Returns a unified image as an entry of its own. Source: the Unified Kernel Image specification. */
export function fromUnifiedImages(host: Host, paths: readonly string[]): MenuEntry[] {
  const { files } = host
  const entries = paths.map((path): MenuEntry => {
    const name = path.replace(/.*\//, '')
    const uname = readSection(files, path, '.uname')
    const title = /^PRETTY_NAME=["']?(.*?)["']?$/m.exec(readSection(files, path, '.osrel') ?? '')?.[1] ?? name
    const release = uname ? installed(host, uname) : releaseOfKernel(host, [path], undefined)
    const line = readSection(files, path, '.cmdline') ?? ''
    const images = [{ path, found: true }]
    return {
      title,
      file: path,
      release,
      kernel: path,
      images,
      line,
      recovery: bootsRecovery(line, [name]),
      isDefault: null,
    }
  })
  const usual = entries.filter(({ file }) => !/fallback/i.test(file))
  const isFallback = ({ file, release }: MenuEntry): boolean =>
    /fallback/i.test(file) && usual.some((one) => one.release === release)
  return entries.map((entry) => ({ ...entry, recovery: entry.recovery || isFallback(entry) }))
}

/** Finds a file that a loader names: on the entry's partition, on the root, on the mount points of boot partitions. */
function findBootFile(files: Reader, path: string, home: string): string | undefined {
  const plain = path.replace(/^\([^)]*\)/, '').replaceAll('\\', '/')
  const places = [...new Set([home, '', ...ESP_MOUNTS])]
  // A path of a file system that is not mounted is taken for that of /boot at last.
  const last = plain.replace(/^.*(?=\/boot\/)/, '')
  for (const each of new Set([plain, withoutSubvolume(files, plain), last]))
    for (const place of places) {
      const found = findPath(files, `${place}/${each}`.replace(/\/+/g, '/'))
      if (found !== undefined) return found
    }
  return undefined
}

/**
 * Removes the subvolume (btrfs) or data set (ZFS) from the start of a path as GRUB sees it: `/@/boot/x`, and
 * `/ROOT/debian@/boot/x`. The names of subvolumes are those of fstab, where it has any.
 */
function withoutSubvolume(files: Reader, path: string): string {
  const inSet = path.replace(/^\/.*[^/]@(?=\/)/, '')
  const mounted = readFstab(files).filter(({ target }) => target === '/' || target === '/boot')
  const names = mounted.flatMap(({ options }) => options.flatMap((one) => /^subvol=\/*(.+)/.exec(one)?.[1] ?? []))
  const name = names.find((one) => inSet.startsWith(`/${one}/`))
  if (name !== undefined) return inSet.slice(name.length + 1)
  return names.length > 0 ? inSet : inSet.replace(/^.*?\/@[^/]*(?=\/)/, '')
}

const installed = ({ kernels }: Host, release: string): string | null =>
  kernels.find((one) => one.release === release)?.release ?? null

/** Returns the installed kernel that is behind these names, which the entry and its files have; else what it says itself. */
export function releaseOfKernel(host: Host, names: readonly string[], path: string | undefined): string | null {
  const { files, kernels } = host
  const parts = names.flatMap((name) => name.split('/').map(bareName))
  const isNamed = (name: string): boolean => parts.some((part) => part === name || part.endsWith(`-${name}`))
  const longest = [...kernels].sort((one, other) => other.release.length - one.release.length)
  const named = longest.find(({ release }) => isNamed(release))
  if (named !== undefined) return named.release
  const based = kernels
    .map(({ release }) => ({ release, base: packageBaseOf(files, release) ?? '' }))
    .sort((one, other) => other.base.length - one.base.length)
    .find(({ base }) => base !== '' && isNamed(base))
  if (based !== undefined) return based.release
  const itself = path === undefined ? null : installed(host, kernelFileRelease(files, path) ?? '')
  if (itself !== null) return itself
  // Alpine's vmlinuz-lts is that of 6.12.1-0-lts.
  const flavour = kernels.filter(({ release }) => parts.includes(`vmlinuz-${release.replace(/^.*-/, '')}`))
  return flavour.length === 1 ? (flavour[0]?.release ?? null) : null
}

/** Removes from a file's name what says nothing of the kernel: tries of a boot, an ending, a machine's ID. */
function bareName(name: string): string {
  return name
    .replace(/\.(efi|img|old|signed)$/i, '')
    .replace(/\+\d+(-\d+)?$/, '')
    .replace(/-(fallback|[0-9a-f]{32})$/, '')
}
