import type { CommandChange } from '../../lib/change/plan.ts'
import type { Reader } from '../../lib/host/reader.ts'
import type { KernelImage } from '../../lib/system/system.ts'
import { filesEndingIn, imageCommand, rawText } from './boot-files.ts'

// The command by which people and kernel packages run initramfs-tools; in Ubuntu from 25.10 and with Debian's dracut
// from 112, it runs dracut.
export const UPDATE_INITRAMFS = '/usr/sbin/update-initramfs'

/** Returns the initramfs generator that update-initramfs runs; `undefined` where there is no such program. */
export function updateInitramfs(files: Reader): 'initramfs-tools' | 'dracut' | undefined {
  const text = rawText(files, UPDATE_INITRAMFS) ?? ''
  if (/\bmkinitramfs\b/.test(text)) return 'initramfs-tools'
  return /\bdracut\b/.test(text) ? 'dracut' : undefined
}

/** Finds a program that update-initramfs runs with each image, and that copies it for a boot loader. */
export function findPostUpdate(files: Reader): string | undefined {
  const all = filesEndingIn(files, '/etc/initramfs/post-update.d', '')
  return all.find((path) =>
    /\b(kernel-install|kernelstub|proxmox-boot|bootctl|cp|install|rsync)\b/.test(rawText(files, path) ?? ''),
  )
}

/**
 * Returns the commands that rebuild these images, one for each. `-k all` takes every kernel that linux-version(1) finds
 * in /boot and that has an image: it misses a kernel whose file has another name, and fails where modules are gone.
 * It is the inverse: other kernels may be installed by then, and a release that is gone would be an error.
 * Source: get_sorted_versions() in /usr/sbin/update-initramfs (the same in 0.140 to 0.151).
 */
export function updateCommands(files: Reader, images: readonly KernelImage[]): CommandChange[] {
  // With `update_initramfs=no`, -u does nothing and reports success; only -c makes an image: update-initramfs.conf(5).
  const text = rawText(files, '/etc/initramfs-tools/update-initramfs.conf') ?? ''
  const never = [...text.matchAll(/^[\t ]*update_initramfs=["']?(\w+)/gm)].at(-1)?.[1] === 'no'
  return images.map((image) => {
    const argv = ['update-initramfs', never ? '-c' : '-u', '-k', image.release]
    return imageCommand(image, argv, never ? argv : ['update-initramfs', '-u', '-k', 'all'])
  })
}
