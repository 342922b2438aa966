import type { CommandChange } from '../../lib/change/plan.ts'
import type { ShellFile } from '../../lib/edit/shell-variables.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host } from '../../lib/system/system.ts'
import { findPath, listFolder, packageBaseOf } from './boot-files.ts'
import { ESP_MOUNTS } from './loader-entries.ts'

// Unified kernel images: https://uapi-group.org/specifications/specs/unified_kernel_image/

/** A unified image that a tool of this host makes, and that is there. */
export interface UnifiedImage {
  /** Without symbolic links. */
  path: string
  release: string
}

/** Every unified image on the ESP, whoever made it. */
export function unifiedImages(files: Reader): string[] {
  const folders = new Set(ESP_MOUNTS.map((place) => findPath(files, `${place}/EFI/Linux`)))
  return [...folders].flatMap((folder) =>
    (folder === undefined ? [] : listFolder(files, folder))
      .filter((name) => /^[^.].*\.efi$/i.test(name))
      .map((name) => findPath(files, `${folder}/${name}`) ?? `${folder}/${name}`),
  )
}

/** The configuration of dracut, in the order in which it sources it. Source: dracut.conf(5). */
export function dracutConfig(files: Reader): ShellFile[] {
  const folders = ['/usr/lib/dracut/dracut.conf.d', '/etc/dracut.conf.d']
  // A file in /etc stands for the one of the same name in /usr/lib.
  const named = folders.flatMap((folder) =>
    (files.list(folder) ?? []).filter((name) => name.endsWith('.conf')).map((name) => [name, folder] as const),
  )
  const drop = [...new Map(named)].sort(([one], [other]) => (one < other ? -1 : 1))
  return ['/etc/dracut.conf', ...drop.map(([name, folder]) => `${folder}/${name}`)].flatMap((path) => {
    const text = files.optionalBytes(path)?.toString('latin1')
    return text === undefined ? [] : [{ path, text }]
  })
}

/** What a dracut that is told `uefi=yes` makes: `linux-RELEASE-MACHINE.efi`, or what a person calls it. */
export function dracutUnifiedImages({ files, kernels }: Host): UnifiedImage[] {
  const texts = dracutConfig(files).map(({ text }) => text)
  if (wordsIn(texts, 'uefi').at(-1) !== 'yes' || readInstallConfig(files).layout === 'uki') return []
  const paths = unifiedImages(files)
  return kernels.flatMap(({ release }) =>
    paths
      .filter((path) => path.includes(`-${release}-`) || path.endsWith(`-${release}.efi`))
      .map((path) => ({ path, release })),
  )
}

/** What kernel-install is told: `layout=`, `initrd_generator=`, `uki_generator=`. Source: kernel-install(8). */
export function readInstallConfig(files: Reader): { layout?: string; initrd?: string; uki?: string; path?: string } {
  const folders = ['/etc/kernel', '/run/kernel', '/usr/local/lib/kernel', '/usr/lib/kernel']
  const main = folders.map((folder) => `${folder}/install.conf`).find((path) => files.exists(path))
  const drop = folders.flatMap((folder) =>
    (files.list(`${folder}/install.conf.d`) ?? []).map((name) => `${folder}/install.conf.d/${name}`),
  )
  const text = [main, ...drop].map((path) => (path === undefined ? '' : (files.optionalText(path) ?? ''))).join('\n')
  const value = (key: string): string | undefined =>
    [...text.matchAll(new RegExp(`^[ \\t]*${key}=[ \\t]*(\\S*)`, 'gm'))].at(-1)?.[1]
  const [layout, initrd, uki, path] = [value('layout'), value('initrd_generator'), value('uki_generator'), main]
  return {
    ...(layout === undefined ? {} : { layout }),
    ...(initrd === undefined ? {} : { initrd }),
    ...(uki === undefined ? {} : { uki }),
    ...(path === undefined ? {} : { path }),
  }
}

/** What kernel-install makes where it is told `layout=uki`: `TOKEN-RELEASE.efi`, with `+TRIES` where boots are counted. */
export function kernelInstallImages({ files, kernels }: Host): UnifiedImage[] {
  if (readInstallConfig(files).layout !== 'uki') return []
  const from = ['/etc/kernel/entry-token', '/etc/machine-id', '/var/lib/dbus/machine-id']
  const tokens = from.flatMap((path) => files.optionalText(path)?.trim() || [])
  const bare = (path: string): string => path.replace(/.*\//, '').replace(/(\+\d+(-\d+)?)?\.efi$/i, '')
  return kernels.flatMap(({ release }) =>
    unifiedImages(files)
      .filter((path) => tokens.some((token) => bare(path) === `${token}-${release}`))
      .map((path) => ({ path, release })),
  )
}

/** The same, for the generator of initramfs that kernel-install has run: the one that is told, or whose plugin is there. */
export function kernelInstallImagesOf(host: Host, generator: 'dracut' | 'mkinitcpio'): UnifiedImage[] {
  const folders = ['/etc/kernel/install.d', '/usr/lib/kernel/install.d']
  const plugin = folders.some((folder) => host.files.exists(`${folder}/50-${generator}.install`))
  const { initrd } = readInstallConfig(host.files)
  return plugin && (initrd ?? generator) === generator ? kernelInstallImages(host) : []
}

/** One `kernel-install add` a kernel. A kernel that brings a unified image of its own is only copied: none for that. */
export function kernelInstallCommands({ files, kernels }: Host, images: readonly UnifiedImage[]): CommandChange[] {
  return kernels.flatMap(({ release }): CommandChange[] => {
    const touches = images.filter((one) => one.release === release).map(({ path }) => path)
    const kernel = findKernelFile(files, release)
    if (touches.length === 0 || kernel === undefined) return []
    const argv = ['kernel-install', 'add', release, kernel]
    return [{ kind: 'command', argv, inverse: argv, touches, reason: `the unified image of ${release}` }]
  })
}

function findKernelFile(files: Reader, release: string): string | undefined {
  const folder = `/lib/modules/${release}`
  if ((files.list(folder) ?? []).some((name) => name.endsWith('.efi'))) return undefined
  const names = [`/usr${folder}/vmlinuz`, `/boot/vmlinuz-${release}`, `/boot/vmlinuz-${packageBaseOf(files, release)}`]
  return names.find((path) => findPath(files, path) !== undefined)
}
