import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Suite } from './contents.ts'
import { debianMirror } from './packages.ts'
import { must } from './shell.ts'

// What is made once and kept: each thing in a folder of its own.

export const cacheFolder =
  process.env.VFIO_LAB_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'vfio-scripts-lab')

export type Say = (line: string) => void

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

/** What no root file system of the lab has. */
export const excluded = ['/usr/share/man/*', '/usr/share/doc/*', '/usr/share/locale/*']

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
