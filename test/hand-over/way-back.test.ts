// The way back, where something is in its way: what can come back does, and the rest is named.
import { describe, expect, it } from 'vitest'
import { audio, cardMachine, driversOf, expectRight, gpu, qemu, RECORD } from '../support/hand-over-kernel.ts'

const place = 'sys/devices/pci0000:00/0000:00:01.0'

describe('on the way back', () => {
  it.each([
    [
      'its driver does not take it',
      { faults: `fail bind ${gpu} amdgpu\n` },
      `${gpu} is not back on amdgpu, it is on none`,
    ],
    ['it is gone', { [`sys/bus/pci/devices/${gpu}`]: null }, `${gpu} is gone from the bus`],
    [
      'it is another one',
      { [`${place}/${gpu}/device`]: '0x1234\n' },
      `${gpu} is another device now, which is left alone`,
    ],
  ])('where %s, it is named, and the rest comes back', (_, files, says) => {
    const machine = cardMachine()
    machine.run('take')
    machine.write(files)
    const back = machine.run('give-back')
    expect(back.code).toBe(1)
    expect(back.stderr).toContain(says)
    expect(back.stderr).toContain('is not there again')
    expect(machine.text('units/gdm.service')).toBe('active\n')
    expect(driversOf(machine)[1]).toBe(`${audio} snd_hda_intel`)
    expect(machine.text(RECORD)).toBe(`driver ${gpu} 1002:73bf amdgpu amdgpu (null)\n`)
  })

  it('where the kernel does not bind the text console again, the driver takes the card anew', () => {
    const steps = cardMachine()
    steps.run('take')
    const unbound = steps.steps().indexOf('put 0 sys/class/vtconsole/vtcon1/bind')
    const machine = cardMachine()
    const before = machine.state()
    machine.run('take', { killAt: unbound + 2 })
    expect(machine.text('sys/class/vtconsole/vtcon1/bind')).toBe('0\n')
    machine.write({ faults: 'fail put 1 sys/class/vtconsole/vtcon1/bind\n' })
    expect(machine.run('give-back')).toMatchObject({ code: 0 })
    expect(machine.state()).toBe(before)
    expectRight(machine)
  })

  it('is tried again, and does what is left', () => {
    const machine = cardMachine()
    const before = machine.state()
    machine.run('take')
    machine.write({ faults: `fail bind ${gpu} amdgpu\n` })
    machine.run('give-back')
    machine.write({ faults: '' })
    expect(machine.run('give-back')).toMatchObject({ code: 0 })
    expect(machine.state()).toBe(before)
  })

  it('nothing is unbound while a guest has it open', () => {
    const machine = cardMachine()
    machine.run('take')
    machine.write(qemu)
    const back = machine.run('give-back')
    expect(back.code).toBe(1)
    expect(back.stderr).toContain('not given back, a guest has it: ')
    expect(machine.steps()).toEqual([])
    expect(driversOf(machine)).toEqual([`${gpu} vfio-pci`, `${audio} vfio-pci`])
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is shell
    machine.write({ tick: 'if [ "${now%.*}" -ge 130 ]; then command rm -rf "$ROOT/proc/4000"; fi\n' })
    expect(machine.run('give-back').code).toBe(0)
    expectRight(machine)
  })

  it('nothing starts while the host shuts down', () => {
    const machine = cardMachine()
    machine.run('take')
    machine.write({ system: 'stopping\n' })
    expect(machine.run('give-back')).toMatchObject({ code: 0, stderr: '' })
    expect(machine.steps()).toEqual([])
  })

  it('nothing is done where nothing was taken', () => {
    const machine = cardMachine()
    const before = machine.state()
    expect(machine.run('give-back')).toEqual({ code: 0, stdout: '', stderr: '' })
    expect(machine.steps()).toEqual([])
    expect(machine.state()).toBe(before)
  })
})
