import { describe, expect, it } from 'vitest'
import { audio, cardMachine, driversOf, expectRight, gpu, SHELLS } from '../support/hand-over-kernel.ts'

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
