import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildForThread } from './in-process.ts'
import { BUNDLES, PROJECT } from './run.ts'

/**
 * The tests run the built scripts: build them from the sources that are being tested.
 * All temporary folders are made in one, which goes at the end: the tests' processes are ended before they could.
 */
export async function setup(): Promise<() => void> {
  execFileSync(process.execPath, ['build.mjs'], { stdio: 'inherit' })
  const folder = inMemory() ?? newFolder(tmpdir())
  process.env.TMPDIR = folder
  process.env.VFIO_TEST_SEED ??= String(Math.floor(Math.random() * 1e6))
  process.env[BUNDLES] = join(folder, 'bundles')
  const scripts = readdirSync(`${PROJECT}scripts`).filter((name) => name.endsWith('.mts'))
  await buildForThread(
    PROJECT,
    scripts.map((name) => name.replace('.mts', '')),
    join(folder, 'bundles'),
  )
  return () => {
    rmSync(folder, { recursive: true, force: true })
  }
}

function newFolder(parent: string): string {
  const folder = mkdtempSync(join(parent, 'vfio-run-'))
  chmodSync(folder, 0o755)
  return folder
}

/** A folder in memory, where there is a gigabyte and programs may run: fake machines are thousands of small files. */
function inMemory(): string | undefined {
  let folder: string | undefined
  try {
    const { bavail, bsize, ffree } = statfsSync('/dev/shm')
    if (bavail * bsize < 2 ** 30 || ffree < 500_000) return undefined
    folder = newFolder('/dev/shm')
    writeFileSync(join(folder, 'probe'), '#!/bin/sh\n', { mode: 0o755 })
    if (spawnSync(join(folder, 'probe')).status === 0) return folder
  } catch {
    // No such place, or not ours to write to.
  }
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  return undefined
}
