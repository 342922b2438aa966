import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { JournalRecord } from '../../lib/change/journal.ts'
import { leavingBootFiles, leftCommands } from '../../lib/change/owed.ts'
import type { CommandChange, Plan } from '../../lib/change/plan.ts'
import { bind, expectRan, tune } from '../support/bind.ts'
import { can, files } from '../support/chroot.ts'
import { freshSystem } from '../support/crash-systems.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, runProgram } from '../support/run.ts'
import { textOf, writeIn } from '../support/system.ts'

const CALLS = 'var/calls'
const args = ['--threadirqs', '--apply'] as const
const later = [...args, '--boot-files-later'] as const

/** A system whose programs write down that they were called. */
function counted(name = 'Debian', programs = ['update-grub', 'update-initramfs']): string {
  const dir = freshSystem(name)
  for (const program of programs) {
    const text = textIn(dir, `usr/sbin/${program}`).replace('set -e', `set -e\necho ${program} >>/${CALLS}`)
    writeIn(dir, `usr/sbin/${program}`, text)
  }
  return dir
}

/** The programs that were called since this was asked last. */
function calls(dir: string): string[] {
  const path = join(dir, CALLS)
  const lines = existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : []
  rmSync(path, { force: true })
  return lines
}

const textIn = (dir: string, path: string): string => textOf(dir, path) ?? ''
const menu = (dir: string): string => textIn(dir, 'boot/grub/grub.cfg')
const OWED = /tune-host of \S+ left the making of boot files to a later run: update-grub/

needs('root, and a busybox that stands alone', can).describe('boot files that are left to the next run', () => {
  it('are made by it, once for both, and go back byte for byte', () => {
    const dir = counted()
    const before = files(dir)
    const old = menu(dir)
    expectRan(tune(dir, ...later), 0, /> update-grub +.*, by the next run\n.*Left to the next run.*: update-grub\./s)
    expect(calls(dir)).toEqual([])
    expect(menu(dir)).toBe(old)
    expectRan(tune(dir, '--status'), 1, OWED)
    expectRan(bind(dir, '02:00'), 1, /^ {2}> update-initramfs .*^ {2}> update-grub .*left the making of boot files/ms)
    expectRan(bind(dir, '02:00', '--apply'), 0)
    expect(calls(dir)).toEqual(['update-initramfs', 'update-grub'])
    expect(menu(dir)).toMatch(/ threadirqs/)
    expect(menu(dir)).toMatch(/ intel_iommu=on/)
    for (const status of [tune(dir, '--status'), bind(dir, '--status')]) expect(status.stdout).not.toMatch(OWED)
    expectRan(bind(dir, '02:00'), 0, /Nothing to do/)
    expectRan(bind(dir, '--undo', '--all', '--apply'), 0)
    expect(calls(dir)).toEqual(['update-initramfs', 'update-grub'])
    expect(files(dir)).toBe(before)
  })

  it('are made by the same call without the option, where no other run came, and not again', () => {
    const dir = counted()
    const before = files(dir)
    expectRan(tune(dir, ...later), 0)
    expectRan(tune(dir, ...later), 0, /Nothing to do/)
    expectRan(tune(dir, '--threadirqs'), 1, /^ {2}> update-grub/m)
    expectRan(tune(dir, ...args), 0, /Done/)
    expect(calls(dir)).toEqual(['update-grub'])
    expectRan(tune(dir, ...args), 0, /Nothing to do/)
    expect(tune(dir, '--status').stdout).not.toMatch(OWED)
    expectRan(bind(dir, '--status'), 1, /nothing is set up/)
    expectRan(tune(dir, '--undo', '--apply'), 0)
    expect(files(dir)).toBe(before)
  })

  it.each([
    ['fails', 'exit 3', /update-grub ended with 3/],
    ['does nothing', 'exit 0', /not as planned: .*threadirqs/],
  ])('stay owed where the program %s', (_, does, says) => {
    const dir = counted()
    expectRan(tune(dir, ...later), 0)
    const [program, now] = [textIn(dir, 'usr/sbin/update-grub'), files(dir)]
    writeIn(dir, 'usr/sbin/update-grub', `#!/bin/sh\n${does}\n`)
    expectRan(tune(dir, ...args), 2, says)
    expect(files(dir)).toBe(now)
    writeIn(dir, 'usr/sbin/update-grub', program)
    expectRan(tune(dir, '--status'), 1, OWED)
    expectRan(bind(dir, '02:00', '--apply'), 0)
    expect(menu(dir)).toMatch(/ threadirqs/)
  })

  it('stay owed where the run that was to make them was cut short', () => {
    const dir = counted()
    expectRan(tune(dir, ...later), 0)
    expectRan(bind(dir, '02:00', '--apply'), 0)
    rmSync(join(dir, 'var/lib/vfio-scripts/0002/done'))
    expectRan(tune(dir, '--status'), 1, OWED)
  })

  it('stay owed where undo.sh puts back what the run that was to make them had before it', () => {
    const dir = counted()
    expectRan(tune(dir, ...later), 0)
    const [program, now] = [textIn(dir, 'usr/sbin/update-grub'), files(dir)]
    writeIn(dir, 'usr/sbin/update-grub', `${program}kill -9 $PPID\n`)
    const cut = ['--root', dir, '02:00', '--apply']
    expect(runProgram(process.execPath, [`${PROJECT}scripts/bind-vfio.mjs`, ...cut]).code).not.toBe(0)
    expect(menu(dir)).toMatch(/ threadirqs/)
    writeIn(dir, 'usr/sbin/update-grub', program)
    for (const status of [bind(dir, '--status'), tune(dir, '--status')])
      expectRan(status, 1, /A run of bind-vfio of \S+ was cut short/)
    expect(runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0002/undo.sh'), dir]).code).toBe(0)
    expect(files(dir)).toBe(now)
    expectRan(tune(dir, '--status'), 1, OWED)
    expectRan(tune(dir, ...args), 0)
    expect(menu(dir)).toMatch(/ threadirqs/)
  })

  it('are not said to be owed by a run that was cut short itself, but that it was', () => {
    const dir = counted()
    const before = files(dir)
    expectRan(tune(dir, ...later), 0)
    rmSync(join(dir, 'var/lib/vfio-scripts/0001/done'))
    const status = tune(dir, '--status')
    expectRan(status, 1, /drifted.*A run of tune-host of \S+ was cut short/s)
    expect(status.stdout).not.toMatch(OWED)
    expectRan(bind(dir, '02:00', '--apply'), 0)
    expect(menu(dir)).not.toMatch(/threadirqs/)
    expectRan(bind(dir, '--undo', '--apply'), 0)
    expect(files(dir)).toBe(before)
  })

  it('are owed no more once their run is taken back', () => {
    const dir = counted()
    const before = files(dir)
    expectRan(tune(dir, ...later), 0)
    expectRan(tune(dir, '--undo', '--apply'), 0)
    expect(files(dir)).toBe(before)
    expectRan(tune(dir, '--undo'), 0, /nothing to take back/)
    expectRan(tune(dir, ...later), 0)
    expect(runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0003/undo.sh'), dir]).code).toBe(0)
    expect(files(dir)).toBe(before)
    calls(dir)
    expectRan(bind(dir, '02:00', '--apply'), 0)
    expect(menu(dir)).not.toMatch(/threadirqs/)
    expect(calls(dir)).toEqual(['update-initramfs', 'update-grub'])
  })

  it('are made at once where a program keeps the arguments itself', () => {
    const dir = counted('Fedora', ['grubby'])
    expectRan(tune(dir, ...later), 0)
    expect(calls(dir)).toContain('grubby')
    expect(tune(dir, '--status').stdout).not.toMatch(/left the making/)
  })
})

describe('--boot-files-later', () => {
  it.each(['--status', '--undo', '--confirm'])('goes with no %s', (mode) => {
    const ran = tune(newFolder(), mode, '--boot-files-later')
    expectRan(ran, 2, /--boot-files-later and --\w+: choose one/)
  })
})

it('what is owed already is left out of a plan only where it is all of the plan', () => {
  const make = (program: string): CommandChange => ({
    ...{ kind: 'command', argv: [program], inverse: [program], touches: [`/boot/${program}`], reason: '' },
  })
  const planOf = (...programs: string[]): Plan => {
    return { changes: programs.map(make), settings: [], notes: [], rebootNeeded: true }
  }
  const entry = { plan: leavingBootFiles(planOf('update-grub'), []) }
  const journal = [{ number: 1, state: 'done', complete: true, entry }] as JournalRecord[]
  const leaves = (...programs: string[]): string[] => leftCommands(leavingBootFiles(planOf(...programs), journal))
  expect(leaves('update-grub')).toEqual([])
  expect(leaves('update-initramfs', 'update-grub')).toEqual(['update-initramfs', 'update-grub'])
})
