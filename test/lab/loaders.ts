import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Generator, Loader } from './contents.ts'
import { kernelArguments } from './machines.ts'
import { must } from './shell.ts'

// The disk: GPT; 1 the BIOS boot partition, 2 the EFI system partition, 3 the root file system. In sectors of 512.
export const size = 4 * 1024 * 1024 + 192 * 2048
export const bios = { start: 2048, size: 2048 }
export const esp = { start: 4096, size: 256 * 2048 }
const systemStart = esp.start + esp.size
export const system = { start: systemStart, size: size - systemStart - 2048 }
export const uuid = '6c616221-0000-4000-8000-000000000001'
const espId = '6c616221'

const grubDefaults = `GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT="quiet loglevel=3"
GRUB_CMDLINE_LINUX='${kernelArguments}'
GRUB_TERMINAL="serial console"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_DISABLE_OS_PROBER=true
`

/** Puts what starts the kernel on a disk that has its partitions; the root file system gets what belongs to it. */
export async function writeLoader(loader: Loader, root: string, disk: string): Promise<void> {
  if (loader === 'grub') return writeGrub(root, disk)
  await writeSystemdBoot(root, disk)
  if (loader === 'uki') writeFileSync(join(root, 'etc/kernel/install.conf'), 'layout=uki\nuki_generator=ukify\n')
}

/** The first initramfs, and the menu or the entries: bash for `withDisk`. */
export function firstImages(generator: Generator, loader: Loader): string {
  const make =
    generator === 'dracut' ? 'in_root dracut --force --kver "$KERNEL"' : 'in_root update-initramfs -c -k "$KERNEL"'
  const kernelInstall = 'in_root kernel-install add "$KERNEL" "/boot/vmlinuz-$KERNEL"'
  if (loader === 'grub') return `${make}; in_root update-grub`
  // initramfs-tools hands its image to kernel-install itself, dracut is run by it.
  return generator === 'dracut' ? kernelInstall : make
}

/** The EFI system partition with the program that the firmware starts. No mount: this kernel may have no VFAT. */
async function makeEsp(disk: string, program: string): Promise<void> {
  const fat = `${disk}@@${esp.start * 512}`
  const options = ['-F', '16', '-i', espId, '--offset', String(esp.start)]
  await must(['mkfs.vfat', ...options, disk, String(esp.size / 2)])
  await must(['mmd', '-i', fat, '::EFI', '::EFI/BOOT'])
  await must(['mcopy', '-i', fat, program, '::EFI/BOOT/BOOTX64.EFI'])
}

/** What `bootctl install` does, and the file system of the ESP where the system has it mounted: /boot/efi. */
async function writeSystemdBoot(root: string, disk: string): Promise<void> {
  const program = join(root, 'usr/lib/systemd/boot/efi/systemd-bootx64.efi')
  await makeEsp(disk, program)
  const loader = join(root, 'tmp/loader')
  mkdirSync(join(loader, 'entries'), { recursive: true })
  writeFileSync(join(loader, 'loader.conf'), 'timeout 0\n')
  writeFileSync(join(loader, 'entries.srel'), 'type1\n')
  const fat = `${disk}@@${esp.start * 512}`
  await must(['mmd', '-i', fat, '::EFI/systemd', '::EFI/Linux'])
  await must(['mcopy', '-i', fat, program, '::EFI/systemd/systemd-bootx64.efi'])
  await must(['mcopy', '-s', '-i', fat, loader, '::'])
  rmSync(loader, { recursive: true })
  mkdirSync(join(root, 'boot/efi'), { recursive: true })
  mkdirSync(join(root, 'etc/kernel'), { recursive: true })
  const id = `${espId.slice(0, 4)}-${espId.slice(4)}`.toUpperCase()
  appendFileSync(join(root, 'etc/fstab'), `UUID=${id} /boot/efi vfat umask=0077 0 2\n`)
  writeFileSync(join(root, 'etc/kernel/cmdline'), `root=UUID=${uuid} ro quiet loglevel=3 ${kernelArguments}\n`)
  await must(['chroot', root, 'systemd-machine-id-setup'])
}

/** What grub-install does, without a mount: boot.img in the MBR, core.img in its partition, one EFI program. */
async function writeGrub(root: string, disk: string): Promise<void> {
  writeFileSync(join(root, 'etc/default/grub'), grubDefaults)
  for (const platform of ['i386-pc', 'x86_64-efi']) {
    const copy = `mkdir -p boot/grub/${platform} && cp usr/lib/grub/${platform}/*.mod usr/lib/grub/${platform}/*.lst boot/grub/${platform}`
    await must(['sh', '-c', copy], { cwd: root })
  }
  mkdirSync(join(root, 'tmp/grub'))
  const early = `search --no-floppy --fs-uuid --set=root ${uuid}\nset prefix=($root)/boot/grub\n`
  writeFileSync(join(root, 'tmp/grub/early.cfg'), early)
  const common = 'part_gpt ext2 fat serial search search_fs_uuid normal linux echo configfile test'.split(' ')
  const image = async (format: string, output: string, extra: string[]) => {
    const options = ['-O', format, '-o', `/tmp/grub/${output}`, '-c', '/tmp/grub/early.cfg', '-p', '/boot/grub']
    await must(['chroot', root, 'grub-mkimage', ...options, ...common, ...extra])
  }
  await image('i386-pc', 'core.img', ['biosdisk'])
  await image('x86_64-efi', 'BOOTX64.EFI', ['efi_gop', 'all_video'])

  // GRUB's include/grub/i386/pc/boot.h: where boot.img finds core.img, and core.img its own second sector
  const boot = readFileSync(join(root, 'usr/lib/grub/i386-pc/boot.img'))
  const core = readFileSync(join(root, 'tmp/grub/core.img'))
  boot.writeBigUInt64LE(BigInt(bios.start), 0x5c)
  boot.writeUInt16BE(0x9090, 0x66)
  core.writeBigUInt64LE(BigInt(bios.start + 1), 0x1f4)
  const file = openSync(disk, 'r+')
  writeSync(file, boot.subarray(0, 440), 0, 440, 0)
  writeSync(file, core, 0, core.length, bios.start * 512)
  closeSync(file)

  await makeEsp(disk, join(root, 'tmp/grub/BOOTX64.EFI'))
  rmSync(join(root, 'tmp/grub'), { recursive: true })
}
