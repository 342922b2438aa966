import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import {
  audio,
  cardLines,
  cardMachine,
  driversOf,
  expectRight,
  gpu,
  guestUuid,
  inUnit,
  opened,
  qemu,
  SHELLS,
} from '../support/hand-over-kernel.ts'

const shapes = [
  ['the only GPU', {}],
  ['a second GPU', { second: true }],
  ['an NVIDIA card', { driver: 'nvidia' }],
] as const

describe.each(SHELLS.map((shell) => ({ shell, name: shell[0] })))('in $name', ({ shell }) => {
  it.each(shapes)('%s goes away and comes back as it was', (_, shape) => {
    const machine = cardMachine(shape)
    const before = machine.state()
    const away = machine.run('take', { shell })
    expect(away).toMatchObject({ code: 0, stdout: '' })
    expect(driversOf(machine)).toEqual([`${gpu} vfio-pci`, `${audio} vfio-pci`])
    const back = machine.run('give-back', { shell })
    expect(back).toMatchObject({ code: 0, stdout: '' })
    expect(machine.state()).toBe(before)
    expectRight(machine)
  })
})

describe('what is put back', () => {
  it('is the same ten times in a row, and nothing is left behind', () => {
    const machine = cardMachine()
    const before = machine.state()
    for (let time = 0; time < 10; time++) {
      expect(machine.run('take')).toMatchObject({ code: 0 })
      expect(machine.run('give-back')).toMatchObject({ code: 0 })
    }
    expect(machine.state()).toBe(before)
    expect(readdirSync(join(machine.root, 'run/vfio-scripts/hand-over/win11')).sort()).toEqual(['lock', 'log'])
    expectRight(machine)
  })

  it('is an override that was there, and a function that had no driver has none again', () => {
    const machine = cardMachine()
    const place = `sys/devices/pci0000:00/0000:00:01.0`
    machine.write({
      [`${place}/${gpu}/driver_override`]: 'amdgpu\n',
      [`${place}/${audio}/driver`]: null,
      [`sys/bus/pci/drivers/snd_hda_intel/${audio}`]: null,
      [`${place}/${audio}/sound`]: null,
      'sys/dev/char/116:7': null,
    })
    const before = machine.state()
    machine.run('take')
    expect(machine.run('give-back')).toMatchObject({ code: 0 })
    expect(machine.state()).toBe(before)
    expectRight(machine)
  })

  it('is the card under its name by path, also where its number is another one', () => {
    const machine = cardMachine()
    machine.write({ numbers: '1\n' })
    machine.run('take')
    const back = machine.run('give-back')
    expect(back).toMatchObject({ code: 0 })
    expect(back.stderr).not.toContain('not there')
    expect(machine.has('dev/dri/card1')).toBe(true)
    expectRight(machine)
  })

  it('is the picture of the firmware beside a driver of the host', () => {
    const machine = cardMachine()
    const bound = 'sys/bus/platform/drivers/simple-framebuffer/simple-framebuffer.0'
    machine.write({
      'proc/iomem': `d0000000-dfffffff : ${gpu}\n  d0000000-d07e8fff : BOOTFB\n`,
      [bound]: '\n',
      'sys/bus/platform/drivers/simple-framebuffer/bind': '\n',
      'sys/bus/platform/drivers/simple-framebuffer/unbind': '\n',
      'sys/bus/platform/devices/simple-framebuffer.0': '\n',
    })
    expect(machine.run('take')).toMatchObject({ code: 0 })
    expect(machine.has(bound)).toBe(false)
    expect(machine.run('give-back').stderr).not.toContain('firmware')
    expect(machine.has(bound)).toBe(true)
    machine.run('take')
    machine.write({ 'sys/bus/platform/devices/simple-framebuffer.0': null })
    expect(machine.run('give-back').stderr).toContain('the picture of the firmware does not come back')
    expect(machine.text('units/gdm.service')).toBe('active\n')
  })

  it('is not taken from who has the picture of the firmware open', () => {
    const machine = cardMachine()
    const drm = 'sys/devices/platform/simple-framebuffer.0/drm/card1'
    machine.write({
      [`${drm}/uevent`]: 'DEVNAME=dri/card1\n',
      'sys/dev/char/226:1': `→ ../../${drm.slice('sys/'.length)}`,
      ...opened(2000, 'sway', '/system.slice/seat.service', 'dri/card1'),
    })
    expect(machine.run('take').code).toBe(0)
    machine.run('give-back')
    machine.write({ 'proc/iomem': `d0000000-dfffffff : ${gpu}\n  d0000000-d07e8fff : BOOTFB\n` })
    expect(machine.run('take').code).toBe(1)
    expect(machine.why()).toContain('/dev/dri/card1 by sway')
  })

  it('is taken from the splash of a boot that starts the guest', () => {
    const machine = cardMachine()
    machine.write({ splash: '', ...opened(300, 'plymouthd', '/system.slice/plymouth-start.service', 'dri/card0') })
    expect(machine.run('take').code).toBe(0)
    expect(machine.steps()).toContain('plymouth quit')
    expectRight(machine)
  })

  it('is not a unit that did not run', () => {
    const machine = cardMachine()
    machine.write({ 'etc/hand-over.d/win11': `${cardLines}stop gdm.service\nstop smbd.service\nstop none.service\n` })
    machine.write({ 'units/smbd.service': 'failed\n' })
    machine.run('take')
    machine.run('give-back')
    expect(machine.text('units/smbd.service')).toBe('failed\n')
    expect(machine.has('units/none.service')).toBe(false)
  })

  it('are units: the last that stopped starts first, and what was started for the guest stops', () => {
    const machine = cardMachine()
    const lines = 'stop gdm.service\nstop one.service\nstop two.service\nstart three.service\n'
    machine.write({ 'etc/hand-over.d/win11': `${cardLines}${lines}` })
    machine.write({ 'units/one.service': 'active\n', 'units/two.service': 'active\n' })
    const units = (verb: string): string[] => {
      machine.run(verb)
      return machine.steps().filter((step) => step.startsWith('systemctl'))
    }
    const done = (verb: string, ...names: string[]): string[] =>
      names.map((name) => `systemctl ${verb} ${name}.service`)
    expect(units('take')).toEqual([...done('stop', 'gdm', 'one', 'two'), ...done('start', 'three')])
    expect(units('give-back')).toEqual([...done('stop', 'three'), ...done('start', 'two', 'one', 'gdm')])
  })

  it('is nothing of a session, which ends, nor of a service that ended with it', () => {
    const machine = cardMachine({ second: true })
    const group = '/user.slice/user-1000.slice'
    machine.write({
      'etc/hand-over.d/win11': `${cardLines}sessions end\n`,
      ...inUnit('session-3.scope', 950, 'sway', `${group}/session-3.scope`, 'dri/card0'),
      ...opened(1, 'systemd', '/init.scope', 'dri/card0'),
      tick: 'command rm -rf "$ROOT/proc/1/fd"; echo inactive >"$ROOT/units/user@1000.service"\n',
    })
    expect(machine.run('take')).toMatchObject({ code: 0 })
    expect(machine.steps().filter((step) => /systemctl stop/.test(step))).toEqual([
      'systemctl stop wireplumber.socket wireplumber.service',
      'systemctl stop session-3.scope',
    ])
    expect(machine.run('give-back')).toMatchObject({ code: 0 })
    expect(machine.steps().filter((step) => /systemctl/.test(step))).toEqual([])
    expectRight(machine)
  })

  it('holds for a rehearsal, which is away for ten seconds', () => {
    const machine = cardMachine()
    const before = machine.state()
    expect(machine.run('rehearse')).toMatchObject({ code: 0, stdout: '' })
    expect(machine.state()).toBe(before)
    const log = machine.text('run/vfio-scripts/hand-over/win11/log').split('\n')
    const [away, back] = ['away', 'gives back'].map((word) =>
      Number(log.find((line) => line.endsWith(word))?.split(' ')[0]),
    )
    expect(Number(back) - Number(away)).toBeCloseTo(10)
    expectRight(machine)
  })
})

describe('a guest', () => {
  it('is ended by libvirt before its card goes back', () => {
    const machine = cardMachine()
    const before = machine.state()
    machine.run('take')
    machine.write({
      ...qemu,
      'proc/4000/cmdline': `qemu\0-uuid\0${guestUuid}\0`,
      'run/libvirt/qemu/win10.pid': '4000\n',
    })
    machine.write({ virsh: 'command rm -rf "$ROOT/proc/4000"\n' })
    expect(machine.run('return')).toMatchObject({ code: 0 })
    expect(machine.steps()[0]).toBe(`virsh -c qemu:///system shutdown ${guestUuid}`)
    machine.write({ 'run/libvirt': null })
    expect(machine.state()).toBe(before)
    expectRight(machine)
  })

  it('that does not listen is ended by force, also where libvirt does not answer', () => {
    const machine = cardMachine()
    machine.run('take')
    machine.write({
      ...qemu,
      'proc/4000/cmdline': `qemu\0-uuid\0${guestUuid}\0`,
      'run/libvirt/qemu/win11.pid': '4000\n',
    })
    expect(machine.run('return')).toMatchObject({ code: 0 })
    expect(machine.steps().slice(0, 3)).toEqual([
      `virsh -c qemu:///system shutdown ${guestUuid}`,
      `virsh -c qemu:///system destroy ${guestUuid}`,
      'kill -TERM 4000',
    ])
    expect(driversOf(machine)).toEqual([`${gpu} amdgpu`, `${audio} snd_hda_intel`])
    expectRight(machine)
  })
})
