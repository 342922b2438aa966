import type { CommandChange } from '../../lib/change/plan.ts'
import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import type { ShellFile } from '../../lib/edit/shell-variables.ts'
import { onDemand } from '../../lib/host/denied.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'

// Boot partitions are often closed to all but root: a plan made without root goes on, and says what it could not see.

/** A fact of a host that is read when it is first asked for, and once. */
export function readOnce<T>({ files, machine }: Host, read: () => T): () => T {
  const facts = onDemand<{ fact: T }>([files, machine], { fact: read })
  return () => facts.fact
}

/** The path without links, where it is there; what may not be looked at is remembered as denied. */
export function findPath(files: Reader, path: string): string | undefined {
  return undefinedIfDenied(files, path, () => files.resolve(path))
}

/** The names in a folder; none where there is no such folder, and where it may not be looked into. */
export function listFolder(files: Reader, folder: string): string[] {
  return undefinedIfDenied(files, folder, () => files.list(folder)) ?? []
}

function undefinedIfDenied<T>(files: Reader, path: string, read: () => T | undefined): T | undefined {
  try {
    return read()
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (code !== 'denied') throw error
    files.denied.set(path, message)
    return undefined
  }
}

/** The path without links, or as it stands where nothing is there. */
export function realPath(files: Reader, path: string): string {
  return files.resolve(path) ?? path
}

/** A file's text, one character a byte; `undefined` where there is none, or none that may be read. */
export function rawText(files: Reader, path: string | undefined): string | undefined {
  return path === undefined ? undefined : files.optionalBytes(path)?.toString('latin1')
}

/** Those of the files that are there, in this order. */
export function readShellFiles(files: Reader, paths: readonly string[]): ShellFile[] {
  return paths.flatMap((path) => {
    const text = rawText(files, path)
    return text === undefined ? [] : [{ path, text }]
  })
}

/** The paths of the files in a folder whose names end in this (`.conf`), hidden ones aside, by name. */
export function filesEndingIn(files: Reader, folder: string, end: string): string[] {
  const names = (files.list(folder) ?? []).filter((name) => !name.startsWith('.') && name.endsWith(end))
  return names.map((name) => `${folder}/${name}`)
}

/** `/boot/TOKEN/RELEASE/initrd` and its kin, as kernel-install(8) lays them out. */
export function entryFolders(files: Reader, release: string): string[] {
  const tokens = new Set(readEntryTokens(files))
  return [...tokens].flatMap((token) => ['/efi', '/boot', '/boot/efi'].map((folder) => `${folder}/${token}/${release}`))
}

/** What the names of kernel-install's entries may start with. */
export function readEntryTokens(files: Reader): string[] {
  return ['/etc/kernel/entry-token', '/etc/machine-id'].flatMap((path) => files.optionalText(path)?.trim() || [])
}

/** The name that Arch's kernel packages give: `linux`, `linux-lts`. */
export function packageBaseOf(files: Reader, release: string): string | undefined {
  return files.optionalText(`/lib/modules/${release}/pkgbase`)?.trim()
}

/** The image of each kernel that has one: the first of the paths that it may have. */
export function findImages({ files, kernels }: Host, pathsOf: (release: string) => readonly string[]): KernelImage[] {
  return kernels.flatMap(({ release }) => {
    const found = pathsOf(release).flatMap((path) => findPath(files, path) ?? [])
    return found.slice(0, 1).map((path) => ({ release, path }))
  })
}

/** The command that makes generated files again; as its inverse it runs again, unless another is given. */
export function generatorCommand(
  argv: readonly string[],
  touches: readonly string[],
  reason: string,
  inverse = argv,
): CommandChange {
  return { kind: 'command', argv, inverse, touches, reason }
}

/** The same for one image. */
export function imageCommand({ release, path }: KernelImage, argv: string[], inverse = argv): CommandChange {
  return generatorCommand(argv, [path], `the initramfs of ${release}`, inverse)
}

/** A line of a file of ours, below a folder that may be a link. `head`: what the file starts with. */
export function ownFileLine(
  files: Reader,
  path: string,
  { line, reason, head = headComment(), mode }: { line: string; reason: string; head?: string; mode?: number },
): SettingOf<'line'> {
  const at = path.lastIndexOf('/')
  const place = `${realPath(files, path.slice(0, at))}${path.slice(at)}`
  return { kind: 'line', path: place, head, ...(mode === undefined ? {} : { mode }), line, reason }
}
