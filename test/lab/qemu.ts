import { join } from 'node:path'
import { bootstrap, cached, cacheFolder, excluded, type Say } from './cache.ts'
import { type Machine, qemuArguments } from './machines.ts'

// The newest QEMU of a released Debian, in a root of its own: this machine's may lack what a scenario needs.

const suite = 'trixie'
const programs = ['qemu-system-x86', 'ovmf']

/** In a mount namespace of its own: the cache, where all files of a guest are, has its usual path in the root. */
const enter = `set -e
root=$1 cache=$2 at=$PWD; shift 2
mkdir -p "$root$cache"
mount --bind "$cache" "$root$cache"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" /usr/bin/env -C "$at" "$@"`

/** The command line that starts a machine: of this machine's QEMU, or of the newer one, which is made when it is first needed. */
export async function qemuCommand(machine: Machine, say: Say): Promise<string[]> {
  const argv = qemuArguments(machine)
  if (!machine.networkFunctions) return argv
  const folder = await cached(`qemu-${suite}`, { suite, programs, excluded }, say, (part) =>
    bootstrap(suite, programs, join(part, 'root')),
  )
  const namespace = ['unshare', '--mount', '--propagation', 'private', 'bash', '-c', enter, 'qemu']
  return [...namespace, join(folder, 'root'), cacheFolder, ...argv]
}
