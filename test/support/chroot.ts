import { type ChildProcess, spawn } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { Files } from './loaders.ts'
import { has, PROJECT, type Ran, runProgram, runScript } from './run.ts'
import { snapshotOf, systemDir } from './system.ts'

// Commands really run here: in a chroot whose programs are busybox and stand-ins that do what a test wants of them.
export const release = '6.14.7-zen1'
export const image = `boot/initrd.img-${release}`
export const GOOD = `printf 'usr/lib/modules/x/vfio-pci.ko\\n' >/${image}; if [ -e /etc/modprobe.d/00-vfio-scripts.conf ]; then echo etc/modprobe.d/00-vfio-scripts.conf >>/${image}; fi`

/** A system whose update-initramfs does this, and with these files. */
export function systemThat(updates: string, more: Files = {}, iommuByDefault = true): string {
  const script = `#!/bin/sh\n# as if it ran mkinitramfs\n${updates}\n`
  const files = {
    'proc/self': '',
    'dev/null': '',
    'usr/sbin/update-initramfs': script,
    'usr/bin/lsinitramfs': '#!/bin/sh\ncat "$1"\n',
    ...more,
  }
  const dir = systemDir({ machine: 'i9-14900k-vmd', kernels: [release], files, iommuByDefault })
  mkdirSync(join(dir, 'bin'))
  copyFileSync('/usr/bin/busybox', join(dir, 'bin/busybox'))
  for (const name of ['sh', 'cat', 'sleep', 'rm', 'cp', 'grep']) symlinkSync('busybox', join(dir, 'bin', name))
  return dir
}

/** Applies and runs the commands. */
export const applyRunning = (dir: string, ...args: string[]): Ran =>
  runScript('bind-vfio', ['--root', dir, '02:00', '--apply', ...args])
export const files = (dir: string): string => snapshotOf(join(dir, 'etc')) + snapshotOf(join(dir, 'boot'))
export const journal = (dir: string): string[] =>
  existsSync(join(dir, 'var/lib/vfio-scripts')) ? readdirSync(join(dir, 'var/lib/vfio-scripts')) : []

export const can = has('busybox') && process.getuid?.() === 0 && runProgram('ldd', ['/usr/bin/busybox']).code !== 0

export async function until(done: () => boolean): Promise<void> {
  for (let tries = 0; !done() && tries < 400; tries++) await new Promise((wake) => setTimeout(wake, 50))
  expect(done()).toBe(true)
}

/** Starts an apply whose command waits for the file `go`; `waiting` when it does. */
export async function start(
  dir: string,
): Promise<{ child: ChildProcess; ended: Promise<{ code: number | null; stderr: string }> }> {
  const child = spawn(process.execPath, [`${PROJECT}scripts/bind-vfio.mjs`, '--root', dir, '02:00', '--apply'])
  let stderr = ''
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const ended = new Promise<{ code: number | null; stderr: string }>((settle) =>
    child.on('close', (code) => settle({ code, stderr })),
  )
  await until(() => existsSync(join(dir, 'boot/started')))
  return { child, ended }
}
export const WAITS = `echo half >/${image}; echo >/boot/started; while ! [ -e /boot/go ]; do sleep 0.1; done; rm -f /boot/go /boot/started; ${GOOD}`
