import type { CommandChange } from '../../lib/change/plan.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { filesEndingIn, findPath, generatorCommand, packageBaseOf, readEntryTokens } from './boot-files.ts'
import { findInstallPlugin, readInstallConfig } from './install-config.ts'
import { unifiedImagesOf } from './uki-image.ts'

// The unified images that kernel-install(8) makes with the initramfs generator of its configuration.

/** Finds the images that it makes with `layout=uki`: `TOKEN-RELEASE.efi`, with `+TRIES` where boots are counted. */
export function kernelInstallImages(host: Host): KernelImage[] {
  const { files } = host
  if (readInstallConfig(files).layout !== 'uki') return []
  const tokens = [...readEntryTokens(files), files.optionalText('/var/lib/dbus/machine-id')?.trim()]
  const bare = (path: string): string => path.replace(/.*\//, '').replace(/(\+\d+(-\d+)?)?\.efi$/i, '')
  return unifiedImagesOf(host, (path, release) => tokens.some((token) => bare(path) === `${token}-${release}`))
}

/** Finds the same images if kernel-install runs this initramfs generator: its plugin is there, and no other is set. */
export function kernelInstallImagesOf(host: Host, generator: 'dracut' | 'mkinitcpio'): KernelImage[] {
  const { initrd = generator } = readInstallConfig(host.files)
  const isRun = initrd === generator && findInstallPlugin(host.files, generator) !== undefined
  return isRun ? kernelInstallImages(host) : []
}

/** Returns one `kernel-install add` a kernel; none for a kernel that brings a unified image, which is only copied. */
export function kernelInstallCommands({ files, kernels }: Host, images: readonly KernelImage[]): CommandChange[] {
  return kernels.flatMap(({ release }): CommandChange[] => {
    const touches = images.filter((one) => one.release === release).map(({ path }) => path)
    const kernel = findKernelFile(files, release)
    if (touches.length === 0 || kernel === undefined) return []
    return [generatorCommand(['kernel-install', 'add', release, kernel], touches, `the unified image of ${release}`)]
  })
}

function findKernelFile(files: Reader, release: string): string | undefined {
  const folder = `/lib/modules/${release}`
  if (filesEndingIn(files, folder, '.efi').length > 0) return undefined
  const names = [`/usr${folder}/vmlinuz`, `/boot/vmlinuz-${release}`, `/boot/vmlinuz-${packageBaseOf(files, release)}`]
  return names.find((path) => findPath(files, path) !== undefined)
}
