// undo.sh on the machine that it is needed on: a poor PATH, a run that was killed, entries that came later.
import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { applyRunning, can, files, GOOD, image, start, systemThat, until } from '../support/chroot.ts'
import { needs } from '../support/needs.ts'
import { has, type Ran, runProgram, runScript } from '../support/run.ts'
import { textOf, writeIn } from '../support/system.ts'

const undoScript = (dir: string, number = '0001'): string => join(dir, `var/lib/vfio-scripts/${number}/undo.sh`)
const shells = ['dash', 'busybox'].filter(has).map((name) => (name === 'busybox' ? ['busybox', 'sh'] : [name]))

function runUndo(
  dir: string,
  [program = 'sh', ...more]: readonly string[],
  env: NodeJS.ProcessEnv,
  number?: string,
): Ran {
  return runProgram(program, [...more, undoScript(dir, number), '--with-later', dir], { env })
}

needs('root, and a busybox that stands alone', can).describe.each(
  shells.map((shell) => [shell.join(' '), shell] as const),
)('undo.sh under %s', (_, shell) => {
  it('takes all back with a PATH that has no sbin', () => {
    const dir = systemThat(`${GOOD}; [ -e /etc/modprobe.d/00-vfio-scripts.conf ] || printf initramfs >/${image}`)
    const before = files(dir)
    expect(applyRunning(dir).code).toBe(0)
    expect(runUndo(dir, shell, { PATH: '/usr/bin:/bin' })).toMatchObject({ code: 0, stderr: '' })
    expect(files(dir)).toBe(before)
  })

  it('changes nothing where a program is missing, and names it', () => {
    const dir = systemThat(GOOD)
    expect(applyRunning(dir).code).toBe(0)
    const before = files(dir)
    rmSync(join(dir, 'usr/sbin/update-initramfs'))
    const ran = runUndo(dir, shell, {})
    expect(ran.stderr).toMatch(/^update-initramfs is not here, .*; nothing was changed\n$/)
    expect(ran.code).toBe(2)
    expect(files(dir)).toBe(before)
  })

  it('waits for what a run that was killed left behind, and puts the images back after it', async () => {
    // Killed half-way, update-initramfs goes on alone, and is done only when somebody waits for it.
    const dir = systemThat(
      `echo half >/${image}; echo >/boot/started; while ! [ -e /boot/go ]; do sleep 0.1; done; busybox sleep 0.7; echo new >/${image}; rm -f /boot/started`,
    )
    const before = files(dir)
    const { child, ended } = await start(dir)
    child.kill('SIGKILL')
    await ended
    writeIn(dir, 'boot/go', '')
    const ran = runUndo(dir, shell, {})
    expect(ran.stderr).toContain('waiting for a run that has not ended')
    expect(ran.stdout).toContain(`/${image}: put back`)
    expect(ran.code).toBe(0)
    await until(() => !existsSync(join(dir, 'boot/started')))
    rmSync(join(dir, 'boot/go'))
    expect(files(dir)).toBe(before)
  })

  it('waits without flock(1) too', async () => {
    const dir = systemThat(
      `echo half >/${image}; echo >/boot/started; while ! [ -e /boot/go ]; do sleep 0.1; done; busybox sleep 0.7; rm -f /boot/started`,
    )
    const before = files(dir)
    const { child, ended } = await start(dir)
    child.kill('SIGKILL')
    await ended
    writeIn(dir, 'boot/go', '')
    // It looks for its programs with `command -v`.
    const script = textOf(dir, 'var/lib/vfio-scripts/0001/undo.sh')?.replace(
      'command -v flock',
      'command -v no-flock-here',
    )
    writeIn(dir, 'var/lib/vfio-scripts/0001/undo.sh', script ?? '')
    const ran = runUndo(dir, shell, {})
    expect(ran.stderr).toContain('waiting for a run that has not ended')
    expect(ran.code).toBe(0)
    rmSync(join(dir, 'boot/go'))
    expect(files(dir)).toBe(before)
  })

  it('keeps others out while it works, and leaves no lock behind', async () => {
    const dir = systemThat(GOOD)
    expect(applyRunning(dir).code).toBe(0)
    writeIn(
      dir,
      'usr/sbin/update-initramfs',
      `#!/bin/sh\n# mkinitramfs\necho >/boot/started; while ! [ -e /boot/go ]; do sleep 0.1; done; rm -f /boot/go /boot/started\n`,
    )
    const { spawn } = await import('node:child_process')
    const [program = 'sh', ...more] = shell
    const child = spawn(program, [...more, undoScript(dir), dir], { stdio: 'ignore' })
    const ended = new Promise((settle) => child.on('close', settle))
    await until(() => existsSync(join(dir, 'boot/started')))
    const ran = runScript('bind-vfio', ['--root', dir, '02:00', '--apply'])
    expect(ran.stderr).toMatch(new RegExp(`process ${child.pid} is changing this system`))
    expect(ran.code).toBe(2)
    writeIn(dir, 'boot/go', '')
    expect(await ended).toBe(0)
    expect(existsSync(join(dir, 'var/lib/vfio-scripts/lock'))).toBe(false)
  })
})
