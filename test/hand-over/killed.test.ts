// The program is killed before each of its steps, there and back: the way back brings all back from there.
import { describe, expect, it } from 'vitest'
import { cardMachine, expectRight, RECORD, SHELLS } from '../support/hand-over-kernel.ts'
import { sampleOf } from '../support/needs.ts'

const shapes = [
  ['the only GPU', {}],
  ['a second GPU', { second: true }],
  ['an NVIDIA card', { driver: 'nvidia' }],
] as const
/** More than there are; a program that ends before was not killed. */
const MOST = 36

describe.each(shapes)('%s', (_, shape) => {
  it('has fewer steps than are tried', () => {
    const machine = cardMachine(shape)
    for (const verb of ['take', 'give-back']) {
      machine.run(verb)
      expect(machine.steps().length).toBeGreaterThan(10)
      expect(machine.steps().length).toBeLessThan(MOST)
    }
  })

  const points = Array.from({ length: MOST }, (_none, index) => index + 1)
  const cases = ['take', 'give-back'].flatMap((verb) => points.map((point) => [verb, point] as const))

  it.each(sampleOf(cases, 8))('comes back where %s was killed before step %i', (verb, killAt) => {
    const shell = SHELLS[killAt % SHELLS.length] ?? ['sh']
    const machine = cardMachine(shape)
    const before = machine.state()
    if (verb === 'give-back') machine.run('take', { shell })
    const { code } = machine.run(verb, { shell, killAt })
    const last = machine.steps().at(-1)
    if (code === 0) return
    expect({ code, last }).toEqual({ code: null, last })
    const back = machine.run('give-back', { shell })
    const where = `${shell[0]}, killed before: ${last}\n${back.stderr}`
    expect(`${where}${machine.state()}`).toBe(`${where}${before}`)
    expect(back.stderr).not.toContain('not')
    expect(machine.has(RECORD)).toBe(false)
    expectRight(machine)
  })
})
