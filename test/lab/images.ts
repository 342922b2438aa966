import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { type Contents, type ParsedContents, packagesOf, parseContents, type Suite } from './contents.ts'
import { makeDisk, withDisk } from './disk.ts'
import { firstImages } from './loaders.ts'
import { kernelArguments } from './machines.ts'
import { debianMirror } from './packages.ts'
import { must } from './shell.ts'

export const cacheFolder =
  process.env.VFIO_LAB_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'vfio-scripts-lab')

export type Say = (line: string) => void

/** A folder with `disk.img` (boots by UEFI, with GRUB by BIOS too), and `vmlinux` and `initrd` to boot it without a loader. */
export interface Images {
  folder: string
  disk: string
  /** The kernel's release, as `uname -r` says it in the guest. */
  kernel: string
}

/** What no root file system of the lab has. */
export const excluded = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*']

/** The modules that the guests can use; their dependencies come along. Every other one is left out. */
const modules = `
  virtio_pci virtio_blk virtio_net virtio_console ext4 xfs vfat nls_ascii nls_cp437 efivarfs overlay loop dm-mod
  crc32c_generic crc32c-intel nvme ahci sd_mod lpc_ich i2c-i801 i2c-dev xhci_pci usbhid hid_generic usb_storage
  e1000 e1000e pci-stub snd_hda_intel snd_hda_codec_generic snd_intel8x0 bochs radeon
  vfio vfio_iommu_type1 vfio_pci vfio_virqfd kvm kvm_amd kvm_intel tun bridge vhost_net
  igb igbvf button evdev psmouse autofs4 fuse configfs binfmt_misc qemu_fw_cfg iptable_filter nf_tables`
const earlyModules = ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4']

const making = new Map<string, Promise<string>>()

/**
 * The folder of the cache that holds what this recipe makes; `make` fills a new one, and `say` hears of it. It gets its
 * name only when it is complete, so an interrupted build leaves nothing that is used.
 */
export function cached(name: string, recipe: unknown, say: Say, make: (folder: string) => Promise<void>) {
  const key = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 12)
  const folder = join(cacheFolder, `${name}-${key}`)
  const build = async () => {
    if (existsSync(folder)) {
      utimesSync(folder, new Date(), new Date())
      return folder
    }
    const began = Date.now()
    const part = scratch(name)
    try {
      await make(part)
      if (!existsSync(folder)) renameSync(part, folder)
    } finally {
      rmSync(part, { recursive: true, force: true })
    }
    say(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  made ${name}, kept for the next run`)
    return folder
  }
  const made = making.get(folder) ?? build()
  making.set(folder, made)
  return made
}

let scratches = 0

/** A new folder of this process in the cache, removed at the end or by a later run. */
export function scratch(name: string): string {
  const folder = join(cacheFolder, `.part-${process.pid}-${scratches++}-${name}`)
  mkdirSync(folder, { recursive: true })
  return folder
}

/** Removes the scratch folders of this process and of those that are gone. */
export function removeScratch(): void {
  removeFromCache((name) => {
    const pid = /^\.part-(\d+)-/.exec(name)?.[1]
    return pid !== undefined && (Number(pid) === process.pid || !existsSync(`/proc/${pid}`))
  })
}

/** Removes what no run used for a week. */
export function removeUnused(): void {
  const week = 7 * 24 * 3600 * 1000
  removeFromCache((name) => {
    return /-[0-9a-f]{12}$/.test(name) && statSync(join(cacheFolder, name)).mtimeMs < Date.now() - week
  })
}

function removeFromCache(superfluous: (name: string) => boolean): void {
  if (!existsSync(cacheFolder)) return
  for (const name of readdirSync(cacheFolder).filter(superfluous)) {
    rmSync(join(cacheFolder, name), { recursive: true, force: true, maxRetries: 3 })
  }
}

/** The images of a system, with more packages where a scenario wants them. */
export async function images(contents: Contents, say: Say, more: readonly string[] = []): Promise<Images> {
  const parsed = parseContents(contents)
  const { suite } = parsed
  const name = contents.replaceAll('/', '-')
  const include = [...packagesOf(parsed), ...more]
  const root = await cached(`root-${name}`, { suite, include, excluded }, say, (part) =>
    bootstrap(suite, include, join(part, 'root.tar')),
  )
  const sources = ['images.ts', 'disk.ts', 'loaders.ts', 'init.sh', 'attach.sh']
  const recipe = { root, kernelArguments, sources: sources.map((name) => readFileSync(`test/lab/${name}`, 'utf8')) }
  const folder = await cached(`disk-${name}`, recipe, say, (part) => makeImages(join(root, 'root.tar'), parsed, part))
  return { folder, disk: join(folder, 'disk.img'), kernel: readFileSync(join(folder, 'kernel'), 'utf8') }
}

/** Makes a Debian of its own packages: a tar file, or a folder where the path does not end in `.tar`. */
export async function bootstrap(suite: Suite, include: readonly string[], output: string): Promise<void> {
  const mirror = await debianMirror()
  const sources = [`deb ${mirror.main} ${suite} main`]
  if (suite !== 'sid') sources.push(`deb ${mirror.main} ${suite}-updates main`)
  if (suite !== 'sid' && mirror.security !== undefined) sources.push(`deb ${mirror.security} ${suite}-security main`)
  const format = output.endsWith('.tar') ? 'tar' : 'directory'
  // sid's release file ends after a week: a mirror that is behind is good enough here, and its signature is looked at.
  const apt = ['Acquire::Languages "none"', ...(suite === 'sid' ? ['Acquire::Check-Valid-Until "false"'] : [])]
  const options = ['--mode=root', '--variant=minbase', `--format=${format}`, ...apt.map((one) => `--aptopt=${one}`)]
  const dpkg = excluded.map((path) => `--dpkgopt=path-exclude=${path}`)
  const argv = ['mmdebstrap', ...options, ...dpkg, `--include=${include.join(',')}`, suite, output, ...sources]
  // INITRD: the initramfs is made later, from the few modules that stay
  const env = { INITRD: 'No', TMPDIR: dirname(output) }
  await must(['unshare', '--mount', '--propagation', 'private', ...argv], { env })
}

async function makeImages(tar: string, { generator, loader }: ParsedContents, folder: string): Promise<void> {
  const root = join(folder, 'root')
  mkdirSync(root)
  await must(['tar', '-C', root, '-xf', tar])
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
  const dep = readFileSync(join(root, 'usr/lib/modules', kernel, 'modules.dep'), 'utf8')
  // Newer kernels have some of them in another one, or built in.
  const isThere = (name: string) => !/^(vfio_virqfd|crc32c.*)$/.test(name) || dep.includes(`/${name}.ko`)
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
