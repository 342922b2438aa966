// What a disk of the lab holds: a Debian, the generator of its initramfs, and what starts its kernel.

export type Generator = 'initramfs-tools' | 'dracut'
export type Suite = 'bookworm' | 'trixie' | 'sid'
/** `uki`: systemd-boot too, with unified images that kernel-install makes with ukify. */
export type Loader = 'grub' | 'systemd-boot' | 'uki'
/** `iommufd`, `no-groups`: kernels that Debian has not, see kernel.ts. */
export type Kernel = 'debian' | 'iommufd' | 'no-groups'
/** Debian 12, GRUB and Debian's kernel unless told. */
export type Contents =
  | Generator
  | `${Suite}/${Generator}`
  | `${Suite}/${Generator}/${Loader}`
  | `${Suite}/${Generator}/${Loader}/${Kernel}`

export interface ParsedContents {
  suite: Suite
  generator: Generator
  loader: Loader
  kernel: Kernel
}

export function parseContents(contents: Contents): ParsedContents {
  const words = contents.split('/')
  const [suite, generator, loader = 'grub', kernel = 'debian'] = words.length === 1 ? ['bookworm', ...words] : words
  return { suite, generator, loader, kernel } as ParsedContents
}

const basic = [
  ...['systemd-sysv', 'udev', 'kmod', 'procps', 'iproute2', 'pciutils', 'nodejs', 'driverctl', 'busybox-static'],
  'linux-image-amd64',
]
// To look at a disk as the firmware and the loader do.
const tools = ['xfsprogs', 'dosfstools', 'mtools']

const loaders: Record<Loader, readonly string[]> = {
  grub: ['grub-pc', 'grub-efi-amd64-bin'],
  'systemd-boot': ['systemd-boot', 'systemd-boot-efi'],
  uki: ['systemd-boot', 'systemd-boot-efi', 'systemd-ukify'],
}

/** The packages of a disk's root file system. */
export function packagesOf({ generator, loader }: ParsedContents): string[] {
  return [...basic, ...loaders[loader], ...tools, generator]
}
