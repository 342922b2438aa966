import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Loader } from './contents.ts'
import { bios, esp, size, system, uuid, writeLoader } from './loaders.ts'
import { LabError, lastLines, must, type Outcome, run } from './shell.ts'

/** Writes a disk image from a root file system, without mounting anything; it has no menu and no initramfs yet. */
export async function makeDisk(root: string, disk: string, loader: Loader): Promise<void> {
  writeFileSync(join(root, 'etc/hostname'), 'lab\n')
  writeFileSync(join(root, 'etc/fstab'), `UUID=${uuid} / ext4 defaults,noatime 0 1\n`)
  await must(['truncate', '-s', String(size * 512), disk])
  await must([
    ...['sgdisk', '-n', `1:${bios.start}:+${bios.size}`, '-t', '1:EF02', '-n', `2:${esp.start}:+${esp.size}`],
    ...['-t', '2:EF00', '-n', `3:${system.start}:+${system.size}`, '-t', '3:8304', disk],
  ])
  await writeLoader(loader, root, disk)
  const offset = `offset=${system.start * 512}`
  await must(['mkfs.ext4', '-q', '-F', '-U', uuid, '-d', root, '-E', offset, disk, `${system.size / 2}K`])
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
 * mounted too and the disk is called as in the guest. Where /etc/fstab has an ESP, its files are there, and what the
 * script made of them is on the disk after it. `in_root COMMAND…` is a chroot into it; $KERNEL its kernel.
 */
export async function tryWithDisk(attached: Attached, script: string): Promise<Outcome> {
  const { start, size: length } = system
  const partition = { START: String(start), SIZE: String(length), ESP: `${attached.disk}@@${esp.start * 512}` }
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
