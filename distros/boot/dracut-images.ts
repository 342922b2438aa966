import type { CommandChange } from '../../lib/change/plan.ts'
import type { ShellFile } from '../../lib/edit/shell-variables.ts'
import { wordsIn } from '../../lib/edit/word-lists.ts'
import { readDropIns } from '../../lib/host/drop-ins.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { entryFolders, findImages, imageCommand, packageBaseOf, readShellFiles } from './boot-files.ts'
import { compareNatural } from './entry-order.ts'
import { readInstallConfig } from './install-config.ts'
import { kernelInstallCommands, kernelInstallImagesOf } from './kernel-install.ts'
import { sdbootutilImages } from './sdbootutil-entries.ts'
import { unifiedImagesOf } from './uki-image.ts'
import { updateCommands, updateInitramfs } from './update-initramfs.ts'

/**
 * Reads dracut's configuration files, in the order in which dracut sources them: by name, with numbers as numbers.
 * Source: dracut.conf(5); dropindirs_sort() in dracut, which sorts by `sort -V`.
 */
export function dracutConfig(files: Reader): ShellFile[] {
  const drop = readDropIns(files, [
    '/etc/dracut.conf.d',
    '/usr/lib/dracut/dracut.conf.d',
    '/run/initramfs/dracut.conf.d',
  ])
  const nameOf = ({ path }: ShellFile): string => path.replace(/.*\//s, '')
  return [
    ...readShellFiles(files, ['/etc/dracut.conf']),
    ...drop.sort((one, other) => compareNatural(nameOf(one), nameOf(other))),
  ]
}

/** Finds the images that dracut makes with `uefi=yes`: `linux-RELEASE-MACHINE.efi`, or a name that a person chose. */
export function dracutUnifiedImages(host: Host): KernelImage[] {
  const { files } = host
  const texts = dracutConfig(files).map(({ text }) => text)
  if (wordsIn(texts, 'uefi').at(-1) !== 'yes' || readInstallConfig(files).layout === 'uki') return []
  return unifiedImagesOf(host, (path, release) => path.includes(`-${release}-`) || path.endsWith(`-${release}.efi`))
}

/**
 * Returns the images that dracut makes, and the commands that make them again: one for each image, by its path, since
 * `--regenerate-all` writes to dracut's own paths, also for kernels that have no image. It is the inverse, as other
 * kernels may be installed by then. Both work in a chroot, where `uname -r` is another system's. Source: dracut(8).
 */
export function dracutImages(host: Host): { images: KernelImage[]; commands: CommandChange[] } {
  const { files } = host
  const installed = kernelInstallImagesOf(host, 'dracut')
  if (installed.length > 0) return { images: installed, commands: kernelInstallCommands(host, installed) }
  const onEsp = sdbootutilImages(host)
  if (onEsp.images.length > 0) return onEsp
  const unified = dracutUnifiedImages(host)
  const images =
    unified.length > 0
      ? unified
      : findImages(host, (release) => [
          ...ownPaths(files, release),
          // The name that Arch's hooks give it.
          `/boot/initramfs-${packageBaseOf(files, release) ?? release}.img`,
        ])
  const wrapped = updateInitramfs(files) === 'dracut'
  const commands = images.flatMap((image) => {
    const { release, path } = image
    // update-initramfs also runs /etc/initramfs/post-update.d, which hands images to boot loaders.
    if (wrapped && path === `/boot/initrd.img-${release}`) return updateCommands(files, [image])
    const argv = ['dracut', '--force', path, release]
    const isOwn = ownPaths(files, release).includes(path) || path.includes(`/EFI/Linux/linux-${release}`)
    return [imageCommand(image, argv, isOwn ? ['dracut', '--force', '--regenerate-all'] : argv)]
  })
  return { images, commands }
}

/** Returns the paths at which dracut itself puts a kernel's image, in its own order. Source: dracut(8), FILES. */
function ownPaths(files: Reader, release: string): string[] {
  return [
    ...entryFolders(files, release).map((folder) => `${folder}/initrd`),
    `/lib/modules/${release}/initrd`,
    `/boot/initrd.img-${release}`,
    `/boot/initramfs-${release}.img`,
    `/boot/initrd-${release}`,
  ]
}
