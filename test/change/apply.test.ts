import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import {
  applyRunning as apply,
  can,
  files,
  GOOD,
  image,
  journal,
  start,
  systemThat,
  until,
  WAITS,
} from '../support/chroot.ts'
import { needs } from '../support/needs.ts'
import { has, runProgram, runScript } from '../support/run.ts'
import { snapshotOf, textOf, writeIn } from '../support/system.ts'

needs('root, and a busybox that stands alone', can).describe('commands in a chroot', () => {
  it('run, are looked at, and leave no copies behind', () => {
    const dir = systemThat(GOOD)
    const before = files(dir)
    const ran = apply(dir)
    expect(ran.stderr).toMatch(/^> update-initramfs -u -k 6\.14\.7-zen1$/m)
    expect(ran.stdout).toMatch(/^Done\.\nReboot, then: {11}bind-vfio.* --status\nTo take it back: {8}bind-vfio/m)
    expect(ran.code).toBe(0)
    expect(textOf(dir, image)).toContain('vfio-pci.ko')
    expect(readdirSync(join(dir, 'var/lib/vfio-scripts/0001')).sort()).toEqual(['done', 'entry.json', 'undo.sh'])
    writeIn(dir, 'usr/sbin/update-initramfs', `#!/bin/sh\n# mkinitramfs\nprintf initramfs >/${image}\n`)
    expect(runScript('bind-vfio', ['--root', dir, '--undo', '--apply']).code).toBe(0)
    expect(files(dir)).toBe(before)
  })

  it.each([
    [
      'that fail half-way',
      `echo half >/${image}; echo one; echo two >&2; exit 3`,
      /update-initramfs -u -k \S+ ended with 3: one \| two; nothing is changed/,
    ],
    [
      'that say all is well and did nothing',
      'exit 0',
      /not as planned: \/boot\/initrd\.img-\S+ lacks vfio-pci and \/etc\/modprobe\.d\/00-vfio-scripts\.conf; nothing is changed/,
    ],
    ['that remove the image', `busybox rm /${image}; exit 1`, /ended with 1/],
  ])('%s: files and images are as before, and the journal empty', (_, updates, says) => {
    const dir = systemThat(updates)
    const before = files(dir)
    const ran = apply(dir)
    expect(ran.stderr).toMatch(says)
    expect(ran.code).toBe(2)
    expect(files(dir)).toBe(before)
    expect(journal(dir)).toEqual([])
  })

  it.each(['SIGTERM', 'SIGINT'] as const)('%s puts everything back', async (signal) => {
    const dir = systemThat(WAITS)
    const before = files(dir)
    const { child, ended } = await start(dir)
    child.kill(signal)
    const { code, stderr } = await ended
    expect(stderr).toMatch(/interrupted; nothing is changed/)
    expect(code).toBe(2)
    runProgram('rm', ['-f', join(dir, 'boot/started')])
    expect(files(dir)).toBe(before)
  })

  it('a lost terminal (SIGHUP) does not stop it', async () => {
    const dir = systemThat(WAITS)
    const { child, ended } = await start(dir)
    child.kill('SIGHUP')
    writeIn(dir, 'boot/go', '')
    expect((await ended).code).toBe(0)
  })

  it('killed while one runs: the next run takes that back, and does its own work', async () => {
    const dir = systemThat(WAITS)
    const { child, ended } = await start(dir)
    child.kill('SIGKILL')
    await ended
    writeIn(dir, 'boot/go', '')
    await until(() => !existsSync(join(dir, 'boot/started')))
    for (const args of [['02:00'], ['--undo'], ['--status']]) {
      const told = runScript('bind-vfio', ['--root', dir, ...args])
      expect(told.stdout).toMatch(/A run of bind-vfio of \S+ was cut short/)
      expect(told.code).toBe(1)
    }
    writeIn(dir, 'usr/sbin/update-initramfs', `#!/bin/sh\n# mkinitramfs\n${GOOD}\n`)
    const ran = apply(dir)
    expect(ran.stderr).toMatch(/a run of bind-vfio of \S+ was cut short: it is taken back first/)
    expect(ran.code).toBe(0)
    expect(journal(dir)).toEqual(['0001'])
  })

  it('a second run at the same time refuses, and loses nothing', async () => {
    const dir = systemThat(WAITS)
    const { child, ended } = await start(dir)
    const second = apply(dir)
    expect(second.stderr).toMatch(new RegExp(`process ${child.pid} is changing this system; wait until it is done`))
    expect(second.code).toBe(2)
    writeIn(dir, 'boot/go', '')
    expect((await ended).code).toBe(0)
    expect(apply(dir).stdout).toMatch(/^Nothing to do/m)
  })

  const undoScript = 'var/lib/vfio-scripts/0001/undo.sh'

  it.each(['dash', 'busybox'].filter(has))('undo.sh alone takes it back, under %s', (shell) => {
    const dir = systemThat(GOOD)
    const before = snapshotOf(join(dir, 'etc'))
    expect(apply(dir).code).toBe(0)
    const ran = runProgram(shell, [...(shell === 'busybox' ? ['sh'] : []), join(dir, undoScript), dir])
    expect(ran.stdout).toMatch(/> update-initramfs -u -k all\n.*Taken back\. Reboot\./s)
    expect(ran.code).toBe(0)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expect(runScript('bind-vfio', ['--root', dir, '--undo']).stdout).toMatch(/nothing to take back/)
  })

  it('undo.sh leaves a file alone that was changed since, says so, and exits 1', () => {
    const dir = systemThat(GOOD)
    expect(apply(dir).code).toBe(0)
    const path = 'etc/modprobe.d/00-vfio-scripts.conf'
    const changed = `${textOf(dir, path)}options kvm ignore_msrs=1\n`
    writeIn(dir, path, changed)
    const ran = runProgram('sh', [join(dir, undoScript), dir])
    expect(ran.stderr).toContain('00-vfio-scripts.conf: changed since')
    expect(ran.code).toBe(1)
    expect(textOf(dir, path)).toBe(changed)
    expect(textOf(dir, 'etc/initramfs-tools/hooks/vfio-scripts')).toBeNull()
  })

  needs('shellcheck').it('shellcheck finds nothing in undo.sh', () => {
    const dir = systemThat(GOOD)
    expect(apply(dir).code).toBe(0)
    expect(runProgram('shellcheck', [join(dir, undoScript)])).toEqual({ code: 0, stdout: '', stderr: '' })
  })
})
