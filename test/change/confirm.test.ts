import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, etcOf, expectRan, system, undo } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { has, type Ran, runProgram, runScript } from '../support/run.ts'
import { systemDir, textOf } from '../support/system.ts'

const units = 'etc/systemd/system'
const timer = `${units}/vfio-scripts-confirm.timer`
const service = `${units}/vfio-scripts-confirm.service`
const local = 'etc/local.d/vfio-scripts-confirm.start'

const debian = (): string => systemDir({ ...system, files: { 'usr/lib/systemd/systemd': '' } })

const tune = (dir: string, ...args: string[]): Ran => runScript('tune-host', ['--root', dir, ...args, '--no-commands'])

describe('--confirm-within', { concurrent: true }, () => {
  it('plants a timer that takes this very entry back after the next boot', () => {
    const dir = debian()
    const before = etcOf(dir)
    expectRan(
      bind(dir, card, '--confirm-within', '10m'),
      1,
      /Unless bind-vfio --confirm follows within 10 min of the next boot/,
    )
    expect(etcOf(dir)).toBe(before)
    expectRan(apply(dir, card, '--confirm-within', '10m'), 0, /and the machine reboots/)
    expect(textOf(dir, timer)).toContain('[Timer]\nOnBootSec=600s\n')
    // One command: the undo removes this very unit, and a reload would forget a second one.
    const start = `/bin/sh -c '/bin/sh /var/lib/vfio-scripts/0001/undo.sh --with-later && /bin/systemctl --no-block reboot'`
    expect(textOf(dir, service)?.match(/^ExecStart.*$/gm)).toEqual([`ExecStart=${start}`])
    expect(textOf(dir, `${units}/timers.target.d/vfio-scripts.conf`)).toContain(
      '[Unit]\nWants=vfio-scripts-confirm.timer\n',
    )
    expectRan(
      bind(dir, '--status'),
      1,
      /unknown {2}All of this is going to be taken back unless it is confirmed\n +→ bind-vfio --confirm/,
    )
    // What the timer runs.
    const ran = runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0001/undo.sh'), dir])
    expect(ran.stdout).toContain('vfio-scripts-confirm.timer: removed')
    expect(etcOf(dir)).toBe(before)
  })

  it.each([
    ['a setting', (dir: string) => tune(dir, '--hugepages', '2G', '--apply')],
    ['another card', (dir: string) => apply(dir, '01:00', '--force', 'boot-vga', '--force', 'only-gpu')],
    [
      'several, one of which was taken back',
      (dir: string) => {
        expectRan(tune(dir, '--hugepages', '2G', '--apply'), 0)
        expectRan(tune(dir, '--ignore-msrs', '--apply'), 0)
        return tune(dir, '--undo', 'hugepages', '--apply')
      },
    ],
  ])('fires whatever was applied on top of it: %s', (_, more) => {
    const dir = debian()
    const before = etcOf(dir)
    expectRan(apply(dir, card, '--confirm-within', '10m'), 0)
    expectRan(more(dir), 0)
    const ran = runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0001/undo.sh'), '--with-later', dir])
    expect(ran.stderr).not.toContain('changed since')
    // The commands are for the person: nothing is mounted here, so that all is not done, and the switch stays.
    expect(textOf(dir, timer)).not.toBeNull()
    expectRan(runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0001/undo.sh'), dir]), 1, /confirm.timer: removed/)
    expect(etcOf(dir)).toBe(before)
  })

  it('and in the other order: a setting that waits, a card on top of it', () => {
    const dir = debian()
    const before = etcOf(dir)
    expectRan(tune(dir, '--hugepages', '2G', '--apply', '--confirm-within', '10m'), 0)
    expectRan(apply(dir, card), 0)
    runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0001/undo.sh'), '--with-later', dir])
    runProgram('sh', [join(dir, 'var/lib/vfio-scripts/0001/undo.sh'), dir])
    expect(etcOf(dir)).toBe(before)
  })

  it('is gone once it is confirmed, and the rest stays until its own undo', () => {
    const dir = debian()
    const before = etcOf(dir)
    apply(dir, card)
    const plain = etcOf(dir)
    undo(dir)
    apply(dir, card, '--confirm-within', '1h')
    const ran = bind(dir, '--confirm', '--no-commands', '--json')
    // The images hold nothing of it; units are reloaded in the system that runs only.
    expect(JSON.parse(ran.stdout)).toMatchObject({ changed: true, rebootNeeded: false, commands: [] })
    expect(etcOf(dir)).toBe(plain)
    expectRan(bind(dir, '--confirm'), 2, /nothing waits for a confirmation/)
    expectRan(undo(dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('goes with an undo of what it would take back', () => {
    const dir = debian()
    const before = etcOf(dir)
    apply(dir, card, '--confirm-within', '10m')
    expectRan(undo(dir, card), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('waits for the boot of a system that does not run now, whatever is planned there', () => {
    const dir = systemDir({ ...system, files: { 'usr/lib/systemd/systemd': '', 'etc/group': 'kvm:x:104:\n' } })
    const ran = tune(dir, '--vfio-group', 'kvm', '--confirm-within', '10m', '--apply', '--json')
    expect(JSON.parse(ran.stdout).commands).toEqual([])
    expect(textOf(dir, timer)).toContain('OnBootSec=600s')
    expectRan(tune(dir, '--confirm'), 0, /confirmed; what was applied stays/)
    expect(textOf(dir, timer)).toBeNull()
    expect(textOf(dir, 'etc/udev/rules.d/99-vfio-scripts.rules')).toContain('vfio')
  })

  it('with OpenRC is a script of its local service', () => {
    const dir = systemDir({ ...system, files: { 'etc/local.d/README': 'OpenRC\n' } })
    const before = etcOf(dir)
    expectRan(apply(dir, card, '--confirm-within', '2m'), 0)
    expect(textOf(dir, local)).toContain(
      '(sleep 120; [ ! -e /etc/local.d/vfio-scripts-confirm.start ] || { sh /var/lib/vfio-scripts/0001/undo.sh --with-later && reboot; }) &',
    )
    if (has('shellcheck')) expect(runProgram('shellcheck', [join(dir, local)])).toMatchObject({ code: 0, stdout: '' })
    expectRan(bind(dir, '--confirm', '--no-commands'), 0)
    expect(textOf(dir, local)).toBeNull()
    undo(dir)
    expect(etcOf(dir)).toBe(before)
  })

  it('is refused while another one waits', () => {
    const dir = debian()
    apply(dir, card, '--confirm-within', '10m')
    const before = etcOf(dir)
    const ran = tune(dir, '--threadirqs', '--confirm-within', '10m', '--apply')
    expect(ran.stderr).toMatch(/another change still waits: bind-vfio --confirm, or bind-vfio --undo --apply, first/)
    expect(ran.code).toBe(2)
    expect(etcOf(dir)).toBe(before)
    expectRan(tune(dir, '--threadirqs', '--apply'), 0)
  })

  it('names the entry that it belongs to', () => {
    const dir = debian()
    apply(dir, card)
    undo(dir)
    apply(dir, card, '--confirm-within', '10m')
    expect(textOf(dir, service)).toContain('/var/lib/vfio-scripts/0003/undo.sh')
  })

  needs('systemd-analyze').it('its units pass systemd-analyze verify', () => {
    const dir = debian()
    apply(dir, card, '--confirm-within', '10m')
    const ran = runProgram('systemd-analyze', ['verify', '--man=no', join(dir, timer), join(dir, service)])
    expect(`${ran.stdout}${ran.stderr}`).not.toMatch(
      /vfio-scripts-confirm.*(Unknown|Failed to parse|ignoring|not executable)/,
    )
  })

  it.each<[string, string[], RegExp]>([
    ['no time', [card, '--confirm-within', 'soon', '--apply'], /--confirm-within soon: not a time/],
    ['too short a time', [card, '--confirm-within', '5s', '--apply'], /one minute at least/],
    ['--now', [card, '--now', '--confirm-within', '5m'], /ends with the next boot by itself/],
    ['nothing to confirm', ['--confirm'], /nothing waits for a confirmation/],
    ['a system without either', [card, '--confirm-within', '5m', '--apply'], /neither is here/],
  ])('refuses %s', (_, args, says) => {
    const dir = systemDir(system)
    const before = etcOf(dir)
    const ran = runScript('bind-vfio', args.includes('--now') ? args : ['--root', dir, ...args])
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(etcOf(dir)).toBe(before)
  })
})
