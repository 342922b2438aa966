import type { CommandChange } from '../../lib/change/plan.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { KernelImage } from '../../lib/system/system.ts'
import { imageCommand, rawText } from './boot-files.ts'

// The person's and the kernel packages' door to initramfs-tools. Ubuntu from 25.10 and Debian's dracut from 112 bring one
// that runs dracut.
export const UPDATE_INITRAMFS = '/usr/sbin/update-initramfs'

/** Which generator update-initramfs runs; `undefined` where there is no such program. */
export function updateInitramfs(files: Reader): 'initramfs-tools' | 'dracut' | undefined {
  const text = rawText(files, UPDATE_INITRAMFS) ?? ''
  if (/\bmkinitramfs\b/.test(text)) return 'initramfs-tools'
  return /\bdracut\b/.test(text) ? 'dracut' : undefined
}

/**
 * Rebuilds these images, a command each. `-k all` takes every kernel that linux-version(1) finds in /boot and that has an
 * image: it misses a kernel whose file is called otherwise, and fails at an image whose modules are gone. As the inverse
 * it is right: by then other kernels may be installed, and a release that is gone would be an error.
 * Source: get_sorted_versions() in /usr/sbin/update-initramfs (the same in 0.140 to 0.151).
 */
export function updateCommands(files: Reader, images: readonly KernelImage[]): CommandChange[] {
  // update-initramfs.conf(5): then -u does nothing and says that all is well; only -c makes an image.
  const text = rawText(files, '/etc/initramfs-tools/update-initramfs.conf') ?? ''
  const never = [...text.matchAll(/^[\t ]*update_initramfs=["']?(\w+)/gm)].at(-1)?.[1] === 'no'
  return images.map((image) => {
    const argv = ['update-initramfs', never ? '-c' : '-u', '-k', image.release]
    return imageCommand(image, argv, never ? argv : ['update-initramfs', '-u', '-k', 'all'])
  })
}
