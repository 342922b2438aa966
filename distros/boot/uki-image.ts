import { findProgram } from '../../lib/host/find-program.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { filesEndingIn, findPath, listFolder, rawText } from './boot-files.ts'
import { ESP_MOUNTS } from './loader-entries.ts'

// Unified kernel images: https://uapi-group.org/specifications/specs/unified_kernel_image/

/** The bytes to read of a unified image: its sections of text come before its kernel and initramfs. */
const HEAD = 4 << 20

/** Finds every unified image on the ESP, whoever made it. */
export function unifiedImages(files: Reader): string[] {
  const folders = new Set(ESP_MOUNTS.map((place) => findPath(files, `${place}/EFI/Linux`)))
  return [...folders].flatMap((folder) =>
    (folder === undefined ? [] : listFolder(files, folder))
      .filter((name) => /^[^.].*\.efi$/i.test(name))
      .map((name) => findPath(files, `${folder}/${name}`) ?? `${folder}/${name}`),
  )
}

/** Finds the unified images of the installed kernels, by their file names. */
export function unifiedImagesOf(
  { files, kernels }: Host,
  isOf: (path: string, release: string) => boolean,
): KernelImage[] {
  const paths = unifiedImages(files)
  return kernels.flatMap(({ release }) =>
    paths.filter((path) => isOf(path, release)).map((path) => ({ path, release })),
  )
}

/** Returns the command line inside a unified image; `undefined` where it cannot be told. */
export function readEmbeddedLine(files: Reader, path: string): string | undefined {
  return readSection(files, path, '.cmdline')
}

/**
 * Returns the text in a section of a unified image, empty where it has none; `undefined` where it cannot be told.
 * Source: the PE format (a table of sections behind the optional header).
 */
export function readSection(files: Reader, path: string, name: `.${string}`): string | undefined {
  const bytes = files.optionalBytes(path, HEAD)
  if (bytes === undefined || bytes.length < 0x40 || bytes.toString('latin1', 0, 2) !== 'MZ') return undefined
  const header = bytes.readUInt32LE(0x3c)
  if (header + 24 > bytes.length || bytes.toString('latin1', header, header + 4) !== 'PE\0\0') return undefined
  const table = header + 24 + bytes.readUInt16LE(header + 20)
  for (let index = 0; index < bytes.readUInt16LE(header + 6); index++) {
    const at = table + 40 * index
    if (at + 40 > bytes.length) return undefined
    if (bytes.toString('latin1', at, at + 8).replace(/\0+$/, '') !== name) continue
    const from = bytes.readUInt32LE(at + 20)
    const to = from + Math.min(bytes.readUInt32LE(at + 8), bytes.readUInt32LE(at + 16))
    return to > bytes.length ? undefined : bytes.toString('latin1', from, to).replace(/\0.*/s, '').trim()
  }
  return ''
}

/** Does mkinitcpio or kernel-install sign its images, with keys that are here? For dracut, its configuration tells. */
export function isSignedBy(files: Reader, tool: 'mkinitcpio' | 'kernel-install'): boolean {
  const settings = rawText(files, '/etc/kernel/uki.conf') ?? ''
  const ukify = findProgram(files, 'ukify') ?? findPath(files, '/usr/lib/systemd/ukify')
  if (ukify !== undefined && /^[ \t]*SecureBootPrivateKey[ \t]*=[ \t]*\S/m.test(settings)) return true
  const folder = tool === 'mkinitcpio' ? 'initcpio/post' : 'kernel/install.d'
  const hooks = ['/etc', '/usr/lib'].flatMap((from) => filesEndingIn(files, `${from}/${folder}`, ''))
  return hooks.some((path) => {
    const text = rawText(files, path) ?? ''
    return /\b(sbsign|pesign|systemd-sbsign)\b/.test(text) || (/\bsbctl\b/.test(text) && hasKeys(files))
  })
}

/** Does sbctl have keys? Only root can see them. */
function hasKeys(files: Reader): boolean {
  const keys = ['/var/lib/sbctl/keys/db/db.key', '/usr/share/secureboot/keys/db/db.key']
  return keys.some((path) => findPath(files, path) !== undefined || files.denied.has(path))
}
