import type { CommandChange } from '../../lib/change/plan.ts'
import { findProgram } from '../../lib/host/find-program.ts'
import { readMounts } from '../../lib/host/mounts.ts'
import type { Host, KernelImage } from '../../lib/system/system.ts'
import { generatorCommand } from './boot-files.ts'
import { type BootEntry, readEntries } from './loader-entries.ts'
import { fromBootEntries } from './menu-entries.ts'

// sdbootutil of openSUSE keeps kernels, images and entries on the ESP: for each snapshot of the root file system its own.

/**
 * Reads its entries. Those of other snapshots are for recovery: sdbootutil leaves them, and what they boot, as they
 * are. Source: install_kernel() in sdbootutil, which writes `version SNAPSHOT@RELEASE`.
 */
export function sdbootutilEntries(host: Host): BootEntry[] {
  const present = presentSnapshot(host)
  return readEntries(host.files).map((entry) => {
    const snapshot = snapshotOf(entry)
    const isOther = present !== undefined && snapshot !== undefined && snapshot !== present
    return { ...entry, recovery: entry.recovery || isOther }
  })
}

/** Returns the number of the snapshot whose entry it is; `undefined`: it says none. */
export function snapshotOf({ text }: BootEntry): string | undefined {
  return /^version[ \t]+(\d+)@/m.exec(text)?.[1]
}

/** Returns the number of the snapshot that is the root file system; `undefined`: it is none, or another system runs. */
export function presentSnapshot({ machine, running }: Host): string | undefined {
  const root = running
    ? readMounts(machine)
        ?.filter(({ point }) => point === '/')
        .at(-1)
    : undefined
  return /\/\.snapshots\/(\d+)\/snapshot$/.exec(root?.folder ?? '')?.[1]
}

/**
 * Finds the images that its entries boot, `TOKEN/RELEASE/initrd-SHA1` on the ESP, each once, and the command that makes
 * them again: under other names, so that it writes the entries too. Source: install_kernel() in sdbootutil.
 */
export function sdbootutilImages(host: Host): { images: KernelImage[]; commands: CommandChange[] } {
  if (findProgram(host.files, 'sdbootutil') === undefined) return { images: [], commands: [] }
  const normal = sdbootutilEntries(host).filter(({ recovery }) => !recovery)
  const all = fromBootEntries(host, normal).flatMap(({ release, images }) =>
    images.flatMap(({ path, found }): KernelImage[] =>
      found && release !== null && path.includes(`/${release}/initrd-`) ? [{ release, path }] : [],
    ),
  )
  const images = [...new Map(all.map((image) => [image.path, image])).values()]
  const touches = [...images, ...normal].map(({ path }) => path)
  return { images, commands: [generatorCommand(['sdbootutil', 'mkinitrd'], touches, 'the initramfs images')] }
}
