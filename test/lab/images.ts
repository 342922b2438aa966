import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { bootstrap, cached, excluded, type Say } from './cache.ts'
import { type Contents, type ParsedContents, packagesOf, parseContents } from './contents.ts'
import { makeDisk, withDisk } from './disk.ts'
import { ownKernel } from './kernel.ts'
import { firstImages } from './loaders.ts'
import { kernelArguments } from './machines.ts'
import { must } from './shell.ts'

/** A folder with `disk.img` (boots by UEFI, with GRUB by BIOS too), and `vmlinux` and `initrd` to boot it without a loader. */
export interface Images {
  folder: string
  disk: string
  /** The kernel's release, as `uname -r` says it in the guest. */
  kernel: string
}

/** The modules that the guests can use; their dependencies come along. Every other one is left out. */
const modules = `
  virtio_pci virtio_blk virtio_net virtio_console ext4 xfs vfat nls_ascii nls_cp437 efivarfs overlay loop dm-mod
  crc32c_generic crc32c-intel nvme ahci sd_mod lpc_ich i2c-i801 i2c-dev xhci_pci usbhid hid_generic usb_storage
  e1000 e1000e pci-stub snd_hda_intel snd_hda_codec_generic snd_intel8x0 bochs radeon
  vfio vfio_iommu_type1 vfio_pci vfio_virqfd kvm kvm_amd kvm_intel tun bridge vhost_net
  igb igbvf button evdev psmouse autofs4 fuse configfs binfmt_misc qemu_fw_cfg iptable_filter nf_tables`
const earlyModules = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4']

/** The images of a system, with more packages where a scenario wants them. */
export async function images(contents: Contents, say: Say, more: readonly string[] = []): Promise<Images> {
  const parsed = parseContents(contents)
  const { suite, generator, loader, kernel } = parsed
  const name = contents.replaceAll('/', '-')
  const include = [...packagesOf(parsed), ...more]
  const root = await cached(`root-${suite}-${generator}-${loader}`, { suite, include, excluded }, say, (part) =>
    bootstrap(suite, include, join(part, 'root.tar')),
  )
  const own = kernel === 'debian' ? undefined : await ownKernel(kernel, say)
  const sources = ['images.ts', 'disk.ts', 'loaders.ts', 'init.sh', 'attach.sh']
  const recipe = {
    ...{ root, own, kernelArguments },
    sources: sources.map((name) => readFileSync(`test/lab/${name}`, 'utf8')),
  }
  const folder = await cached(`disk-${name}`, recipe, say, (part) =>
    makeImages(join(root, 'root.tar'), parsed, own, part),
  )
  return { folder, disk: join(folder, 'disk.img'), kernel: readFileSync(join(folder, 'kernel'), 'utf8') }
}

async function makeImages(
  tar: string,
  { generator, loader }: ParsedContents,
  own: string | undefined,
  folder: string,
): Promise<void> {
  const root = join(folder, 'root')
  mkdirSync(root)
  await must(['tar', '-C', root, '-xf', tar])
  if (own !== undefined) {
    const debians = 'cd "$1" && rm -r usr/lib/modules/* boot/*-* && cp -a "$2/." .'
    await must(['sh', '-c', debians, 'sh', root, own])
  }
  const kernel = readdirSync(join(root, 'usr/lib/modules'))[0] ?? 'none'
  writeFileSync(join(folder, 'kernel'), kernel)
  await thinModules(root, kernel)
  cpSync('test/lab/init.sh', join(root, 'usr/local/sbin/lab-init'))
  await must(['chmod', '755', join(root, 'usr/local/sbin/lab-init')])
  await unpackKernel(join(root, 'boot', `vmlinuz-${kernel}`), join(folder, 'vmlinux'))
  await smallInitramfs(root, kernel, folder)
  const disk = join(folder, 'disk.img')
  await makeDisk(root, disk, loader)
  rmSync(root, { recursive: true })
  await withDisk({ disk, kernel, mount: join(folder, 'mount') }, firstImages(generator, loader))
}

/** The files of the modules named and of all that they need, in the order in which they are loaded. */
async function moduleFiles(root: string, kernel: string, names: readonly string[]): Promise<string[]> {
  const files = new Set<string>()
  const lists = ['modules.dep', 'modules.builtin'].map((name) => join(root, 'usr/lib/modules', kernel, name))
  const known = lists.map((path) => readFileSync(path, 'utf8').replaceAll('-', '_')).join('\n')
  // Not every kernel has each of them: some are part of another one.
  const isThere = (name: string) => known.includes(`/${name.replaceAll('-', '_')}.ko`)
  for (const name of names.filter(isThere)) {
    const lines = await must(['modprobe', '-S', kernel, '-d', root, '--show-depends', name])
    for (const [, path] of lines.matchAll(/^insmod (\S+)/gm)) if (path !== undefined) files.add(path)
  }
  return [...files]
}

async function thinModules(root: string, kernel: string): Promise<void> {
  const tree = join(root, 'usr/lib/modules', kernel, 'kernel')
  const below = (path: string) => path.slice(path.indexOf(`${kernel}/kernel/`))
  const keep = new Set((await moduleFiles(root, kernel, modules.trim().split(/\s+/))).map(below))
  for (const name of readdirSync(tree, { recursive: true, encoding: 'utf8' })) {
    if (/\.ko(\.\w+)?$/.test(name) && !keep.has(`${kernel}/kernel/${name}`)) rmSync(join(tree, name))
  }
  await must(['depmod', '-b', root, kernel])
}

/**
 * The kernel without its compression (xz, in Debian 12 and 13), which QEMU starts by its PVH entry: a guest without KVM
 * takes 6 s to unpack it. Source: Documentation/arch/x86/boot.rst, payload_offset.
 */
async function unpackKernel(image: string, output: string): Promise<void> {
  const bytes = readFileSync(image)
  const payload = ((bytes[0x1f1] || 4) + 1) * 512 + bytes.readUInt32LE(0x248)
  if (bytes.toString('latin1', payload + 1, payload + 5) !== '7zXZ') return cpSync(image, output)
  const unpack = 'tail -c "+$1" "$2" | xz -dc --single-stream >"$3"'
  await must(['sh', '-c', unpack, 'sh', String(payload + 1), image, output])
}

/** Finds the disk and hands over to the same PID 1 that GRUB's way starts: seconds instead of half a minute. */
async function smallInitramfs(root: string, kernel: string, folder: string): Promise<void> {
  const tree = join(folder, 'initramfs')
  for (const name of ['bin', 'dev', 'proc', 'sys', 'newroot', 'modules'])
    mkdirSync(join(tree, name), { recursive: true })
  cpSync(join(root, 'bin/busybox'), join(tree, 'bin/busybox'))
  const files = await moduleFiles(root, kernel, earlyModules)
  for (const file of files) cpSync(file, join(tree, 'modules', basename(file)))
  const script = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for m in ${files.map((file) => basename(file)).join(' ')}; do insmod /modules/$m; done
until [ -b /dev/vda3 ]; do usleep 50000; done
mount -t ext4 /dev/vda3 /newroot
for d in proc sys dev; do mount --move /$d /newroot/$d; done
exec switch_root /newroot /usr/local/sbin/lab-init
`
  writeFileSync(join(tree, 'init'), script, { mode: 0o755 })
  await must([
    'sh',
    '-c',
    'cd "$1" && find . | cpio -o -H newc --quiet | gzip -1 > "$2"',
    'sh',
    tree,
    join(folder, 'initrd'),
  ])
  rmSync(tree, { recursive: true })
}
