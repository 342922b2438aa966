import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { kernelArguments } from './machines.ts'
import { LabError, lastLines, must, type Outcome, run } from './shell.ts'

// The disk: GPT; 1 the BIOS boot partition, 2 the EFI system partition, 3 the root file system. In sectors of 512.
const size = 4 * 1024 * 1024
const bios = { start: 2048, size: 2048 }
const esp = { start: 4096, size: 64 * 2048 }
const system = { start: 135168, size: size - 135168 - 2048 }
const uuid = '6c616221-0000-4000-8000-000000000001'

const grubDefaults = `GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT="quiet loglevel=3"
GRUB_CMDLINE_LINUX='${kernelArguments}'
GRUB_TERMINAL="serial console"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_DISABLE_OS_PROBER=true
`

/** Writes a disk image from a root file system, without mounting anything; it has no grub.cfg and no initramfs yet. */
export async function makeDisk(root: string, disk: string): Promise<void> {
  writeFileSync(join(root, 'etc/hostname'), 'lab\n')
  writeFileSync(join(root, 'etc/fstab'), `UUID=${uuid} / ext4 defaults,noatime 0 1\n`)
  writeFileSync(join(root, 'etc/default/grub'), grubDefaults)
  for (const platform of ['i386-pc', 'x86_64-efi']) {
    const copy = `mkdir -p boot/grub/${platform} && cp usr/lib/grub/${platform}/*.mod usr/lib/grub/${platform}/*.lst boot/grub/${platform}`
    await must(['sh', '-c', copy], { cwd: root })
  }
  await must(['truncate', '-s', String(size * 512), disk])
  await must([
    ...['sgdisk', '-n', `1:${bios.start}:+${bios.size}`, '-t', '1:EF02', '-n', `2:${esp.start}:+${esp.size}`],
    ...['-t', '2:EF00', '-n', `3:${system.start}:+${system.size}`, '-t', '3:8304', disk],
  ])
  await writeGrub(root, disk)
  const offset = `offset=${system.start * 512}`
  await must(['mkfs.ext4', '-q', '-F', '-U', uuid, '-d', root, '-E', offset, disk, `${system.size / 2}K`])
}

/** What grub-install does, without a mount: boot.img in the MBR, core.img in its partition, one EFI program. */
async function writeGrub(root: string, disk: string): Promise<void> {
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

  const fat = `${disk}@@${esp.start * 512}`
  await must(['mkfs.vfat', '-F', '16', '--offset', String(esp.start), disk, String(esp.size / 2)])
  await must(['mmd', '-i', fat, '::EFI', '::EFI/BOOT'])
  await must(['mcopy', '-i', fat, join(root, 'tmp/grub/BOOTX64.EFI'), '::EFI/BOOT/'])
  rmSync(join(root, 'tmp/grub'), { recursive: true })
}

export interface Attached {
  disk: string
  /** The release of the kernel in it; `uname -r` says that of this machine. */
  kernel: string
  /** A folder to mount it on. */
  mount: string
  env?: Record<string, string>
  /** 300 unless told. */
  seconds?: number
}

/**
 * Runs a bash script on this machine with the root file system of a disk at $ROOT, where /dev, /proc and /sys are
 * mounted too and the disk is called as in the guest. `in_root COMMAND…` is a chroot into it; $KERNEL its kernel.
 */
export async function tryWithDisk(attached: Attached, script: string): Promise<Outcome> {
  const { start, size: length } = system
  const partition = { START: String(start), SIZE: String(length) }
  const env = { ...attached.env, ...partition, ROOT: attached.mount, KERNEL: attached.kernel }
  const argv = ['unshare', '--mount', '--propagation', 'private', 'bash', 'test/lab/attach.sh', attached.disk, script]
  return run(argv, { env, seconds: attached.seconds ?? 300 })
}

/** As `tryWithDisk`, for a script that has to succeed. */
export async function withDisk(attached: Attached, script: string): Promise<Outcome> {
  const outcome = await tryWithDisk(attached, script)
  if (outcome.code !== 0)
    throw new LabError(`on the disk: ended with ${outcome.code}\n${lastLines(outcome.stdout + outcome.stderr, 15)}`)
  return outcome
}

/** A copy that takes only the room that is used. */
export async function copyDisk(from: string, to: string): Promise<void> {
  await must(['cp', '--sparse=always', '--reflink=auto', from, to])
}
