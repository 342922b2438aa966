import type { CommandChange } from '../../lib/change/plan.ts'
import { headComment, type SettingOf } from '../../lib/change/settings.ts'
import type { ShellFile } from '../../lib/edit/shell-variables.ts'
import { onDemand } from '../../lib/host/denied.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'

// Often only root may read a boot partition. A plan made without root goes on, and says what it could not see.

/** Returns a function that reads a fact of a host at its first call, and only then. */
export function readOnce<T>({ files, machine }: Host, read: () => T): () => T {
  const facts = onDemand<{ fact: T }>([files, machine], { fact: read })
  return () => facts.fact
}

/** Returns the path without links; `undefined` where nothing is there. One that may not be read is noted as denied. */
export function findPath(files: Reader, path: string): string | undefined {
  return undefinedIfDenied(files, path, () => files.resolve(path))
}

/** Returns the names in a folder; none where the folder does not exist or may not be read. */
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

/** Returns the path without links; unchanged where nothing is there. */
export function realPath(files: Reader, path: string): string {
  return files.resolve(path) ?? path
}

/** Returns a file's text, one character for each byte; `undefined` where there is no file or it may not be read. */
export function rawText(files: Reader, path: string | undefined): string | undefined {
  return path === undefined ? undefined : files.optionalBytes(path)?.toString('latin1')
}

/** Reads those of the files that exist, in the given order. */
export function readShellFiles(files: Reader, paths: readonly string[]): ShellFile[] {
  return paths.flatMap((path) => {
    const text = rawText(files, path)
    return text === undefined ? [] : [{ path, text }]
  })
}

/** Returns the paths of the files in a folder whose names end in `end` (`.conf`), by name, without hidden ones. */
export function filesEndingIn(files: Reader, folder: string, end: string): string[] {
  const names = (files.list(folder) ?? []).filter((name) => !name.startsWith('.') && name.endsWith(end))
  return names.map((name) => `${folder}/${name}`)
}

/** Returns the folders of a kernel's boot files, such as `/boot/TOKEN/RELEASE`, in the layout of kernel-install(8). */
export function entryFolders(files: Reader, release: string): string[] {
  const tokens = new Set(readEntryTokens(files))
  return [...tokens].flatMap((token) => ['/efi', '/boot', '/boot/efi'].map((folder) => `${folder}/${token}/${release}`))
}

/** Returns the tokens with which the names of kernel-install's entries may start. */
export function readEntryTokens(files: Reader): string[] {
  const paths = ['/etc/kernel/entry-token', '/usr/lib/kernel/entry-token', '/etc/machine-id']
  return paths.flatMap((path) => files.optionalText(path)?.trim() || [])
}

/** Returns the name that Arch's kernel package gives a kernel: `linux`, `linux-lts`. */
export function packageBaseOf(files: Reader, release: string): string | undefined {
  return files.optionalText(`/lib/modules/${release}/pkgbase`)?.trim()
}

/**
 * Returns the release that a kernel's file says itself; `undefined` where it does not.
 * Source: Documentation/arch/x86/boot.rst, kernel_version.
 */
export function kernelFileRelease(files: Reader, path: string): string | undefined {
  const bytes = files.optionalBytes(path, 1 << 16)
  if (bytes === undefined || bytes.length < 0x210) return undefined
  const at = bytes.readUInt16LE(0x20e) + 0x200
  return /^[\w.+~-]+/.exec(bytes.toString('latin1', at, at + 127))?.[0]
}

/** Finds the image of each kernel: the first of its possible paths that exists. */
export function findImages({ files, kernels }: Host, pathsOf: (release: string) => readonly string[]): KernelImage[] {
  return kernels.flatMap(({ release }) => {
    const found = pathsOf(release).flatMap((path) => findPath(files, path) ?? [])
    return found.slice(0, 1).map((path) => ({ release, path }))
  })
}

/** Returns the command that makes generated files again. Its inverse is the same command, unless another is given. */
export function generatorCommand(
  argv: readonly string[],
  touches: readonly string[],
  reason: string,
  inverse = argv,
): CommandChange {
  return { kind: 'command', argv, inverse, touches, reason }
}

/** Returns the command that makes the initramfs of one kernel again. */
export function imageCommand({ release, path }: KernelImage, argv: string[], inverse = argv): CommandChange {
  return generatorCommand(argv, [path], `the initramfs of ${release}`, inverse)
}

/** Returns the setting of a line in a file of our own, whose folder may be a link. `head` is the start of the file. */
export function ownFileLine(
  files: Reader,
  path: string,
  { line, reason, head = headComment(), mode }: { line: string; reason: string; head?: string; mode?: number },
): SettingOf<'line'> {
  const at = path.lastIndexOf('/')
  const place = `${realPath(files, path.slice(0, at))}${path.slice(at)}`
  return { kind: 'line', path: place, head, ...(mode === undefined ? {} : { mode }), line, reason }
}
