import type { MenuEntry } from '../../lib/system/boot.ts'
import type { Host } from '../../lib/system/system.ts'
import { findPath, listFolder } from './boot-files.ts'
import { ESP_MOUNTS } from './loader-entries.ts'
import { releaseOfKernel } from './menu-entries.ts'

/**
 * Returns an entry for each initramfs in a folder of the ESP (`EFI/Gentoo`), where the firmware starts kernels itself or
 * a loader finds them: no file says which of them boots, with what arguments, or by which kernel.
 */
export function firmwareEntries(host: Host): MenuEntry[] {
  const { files } = host
  const folders = ESP_MOUNTS.flatMap((place) => listFolder(files, `${place}/EFI`).map((name) => `${place}/EFI/${name}`))
  const paths = folders.flatMap((folder) =>
    listFolder(files, folder)
      .filter((name) => /^(init(rd|ramfs)|booster)/.test(name))
      .map((name) => findPath(files, `${folder}/${name}`) ?? `${folder}/${name}`),
  )
  return [...new Set(paths)].map((path) => {
    const release = releaseOfKernel(host, [path], undefined)
    const recovery = /fallback|rescue/.test(path)
    return {
      title: path,
      file: path,
      release,
      kernel: null,
      images: [{ path, found: true }],
      line: '',
      recovery,
      isDefault: null,
    }
  })
}
