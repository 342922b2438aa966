import { findProgram } from '../../lib/host/find-program.ts'
import { readPeSections } from '../../lib/host/pe-sections.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { filesEndingIn, findPath, listFolder, readShellFiles } from './boot-files.ts'
import { kernelInstallPlugins, ukifyConfig } from './install-config.ts'
import { ESP_MOUNTS } from './loader-entries.ts'

// Unified kernel images: https://uapi-group.org/specifications/specs/unified_kernel_image/

/** Finds every unified image on the ESP, whoever made it. */
export function unifiedImages(files: Reader): string[] {
  const folders = new Set(ESP_MOUNTS.map((place) => findPath(files, `${place}/EFI/Linux`)))
  return [...folders].flatMap((folder) =>
    (folder === undefined ? [] : listFolder(files, folder))
      .filter((name) => /^[^.].*\.efi$/i.test(name))
      .map((name) => findPath(files, `${folder}/${name}`) ?? `${folder}/${name}`)
      .filter((path) => files.list(path) === undefined),
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

/** Returns the text in a section of a unified image, empty where it has none; `undefined` where it cannot be told. */
export function readSection(files: Reader, path: string, name: `.${string}`): string | undefined {
  const sections = readPeSections(files, path)
  const section = sections?.find((one) => one.name === name)
  if (section === undefined) return sections && ''
  const text = files.optionalBytes(path, section.length, section.from)
  return text?.length === section.length ? text.toString('latin1').replace(/\0.*/s, '').trim() : undefined
}

/** Does mkinitcpio or kernel-install sign its images, with keys that are here? For dracut, its configuration tells. */
export function isSignedBy(files: Reader, tool: 'mkinitcpio' | 'kernel-install'): boolean {
  const settings = ukifyConfig(files)
  const ukify = findProgram(files, 'ukify') ?? findPath(files, '/usr/lib/systemd/ukify')
  if (ukify !== undefined && /^[ \t]*SecureBootPrivateKey[ \t]*=[ \t]*\S/m.test(settings)) return true
  const posts = ['/etc', '/usr/lib'].flatMap((from) => filesEndingIn(files, `${from}/initcpio/post`, ''))
  const hooks = tool === 'mkinitcpio' ? readShellFiles(files, posts) : kernelInstallPlugins(files)
  return hooks.some(({ text }) => {
    return /\b(sbsign|pesign|systemd-sbsign)\b/.test(text) || (/\bsbctl\b/.test(text) && hasKeys(files))
  })
}

/** Does sbctl have keys? Only root can see them. */
function hasKeys(files: Reader): boolean {
  const keys = ['/var/lib/sbctl/keys/db/db.key', '/usr/share/secureboot/keys/db/db.key']
  return keys.some((path) => findPath(files, path) !== undefined || files.denied.has(path))
}
