import type { Reader } from '../../lib/host/reader.ts'

// Boot partitions are often closed to all but root: a plan made without root goes on, and says what it could not see.

/** The path without links, where it is there; what may not be looked at is remembered as denied. */
export function findPath(files: Reader, path: string): string | undefined {
  return undefinedIfDenied(files, path, () => files.resolve(path))
}

/** The names in a folder; none where there is no such folder, and where it may not be looked into. */
export function listFolder(files: Reader, folder: string): string[] {
  return undefinedIfDenied(files, folder, () => files.list(folder)) ?? []
}

function undefinedIfDenied<T>(files: Reader, path: string, style: () => T | undefined): T | undefined {
  try {
    return style()
  } catch (error) {
    const { code, message } = error as { code?: string; message: string }
    if (code !== 'denied') throw error
    files.denied.set(path, message)
    return undefined
  }
}

/** `/boot/TOKEN/RELEASE/initrd` and its kin, as kernel-install(8) lays them out. */
export function entryFolders(files: Reader, release: string): string[] {
  const paths = ['/etc/kernel/entry-token', '/etc/machine-id']
  const tokens = new Set(paths.flatMap((path) => files.optionalText(path)?.trim() || []))
  return [...tokens].flatMap((token) => ['/efi', '/boot', '/boot/efi'].map((folder) => `${folder}/${token}/${release}`))
}

/** The name that Arch's kernel packages give: `linux`, `linux-lts`. */
export function packageBaseOf(files: Reader, release: string): string | undefined {
  return files.optionalText(`/lib/modules/${release}/pkgbase`)?.trim()
}
