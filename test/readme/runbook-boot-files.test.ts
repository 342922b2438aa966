// scripts/setup.md with --apply, whose commands run in a chroot of busybox and stand-ins: how often boot files are made.
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { can } from '../support/chroot.ts'
import { freshSystem } from '../support/crash-systems.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { oneDomain, readmeSystem } from '../support/readme.ts'
import { runProgram } from '../support/run.ts'
import { copyPage, setupAt } from '../support/runbook.ts'

const options = '--gpu 02:00 --name vm --guest linux --memory 4G --vcpus 4 --isolate'.split(' ')

/** The machine of the README with programs that run, and write down that they did. */
function runningHost(): string {
  const dir = newFolder()
  const made = freshSystem('Debian')
  cpSync(oneDomain(readmeSystem()), dir, { recursive: true, verbatimSymlinks: true })
  for (const folder of ['bin', 'usr/sbin', 'usr/bin', 'dev', 'proc/self'])
    cpSync(join(made, folder), join(dir, folder), { recursive: true, verbatimSymlinks: true })
  for (const argv of [['update-initramfs', '-u', '-k', '6.1.0-37-amd64'], ['update-grub']])
    expect(runProgram('chroot', [dir, ...argv])).toMatchObject({ code: 0 })
  for (const name of ['update-grub', 'update-initramfs']) {
    const path = join(dir, 'usr/sbin', name)
    writeFileSync(path, readFileSync(path, 'utf8').replace('set -e', `set -e\necho ${name} >>/calls`))
  }
  for (const name of ['apt-get', 'systemctl'])
    writeFileSync(join(dir, 'usr/bin', name), `#!/bin/sh\necho ${name} >>/others\n`, { mode: 0o755 })
  return dir
}

needs('root, and a busybox that stands alone', can).it('makes images and boot entries once', async () => {
  const dir = runningHost()
  const ran = await setupAt(copyPage(), {}, ...options, '--root', dir, '--apply')
  expectRan(ran, 1, /now reboot, then call this again in the same way$/m)
  expect(ran.stdout).toMatch(/> update-grub .*, by the next run$/m)
  expect(readFileSync(join(dir, 'calls'), 'utf8').trim().split('\n')).toEqual(['update-initramfs', 'update-grub'])
  const menu = readFileSync(join(dir, 'boot/grub/grub.cfg'), 'utf8')
  expect(menu).toMatch(/isolcpus=/)
  expect(existsSync(join(dir, 'others'))).toBe(true)
})
