import { describe, expect, it } from 'vitest'
import {
  addForesight,
  type ForeseenDevice,
  foresightLine,
  heldAgainst,
  noForesight,
  readForesight,
} from './foresight.ts'

const device = (address: string, driver: string | null, more: Partial<ForeseenDevice> = {}): ForeseenDevice => ({
  address,
  driver,
  module: driver?.replaceAll('-', '_') ?? null,
  certainty: 'certain',
  or: [],
  because: 'etc/modprobe.d/vfio.conf:1: options vfio-pci ids=8086:10d3',
  ...more,
})

const judged = (devices: ForeseenDevice[], ...lines: string[]) =>
  heldAgainst({ entry: 'Debian', devices }, `${lines.join('\n')}\n`)

describe('a prediction held against a boot', () => {
  it.each([
    ['the driver', device('a', 'vfio-pci'), 'a vfio-pci vfio_pci'],
    ['no driver', device('a', null), 'a - -'],
    ['a driver known by its module', device('a', 'i2c_i801', { module: 'i2c_i801' }), 'a i801_smbus i2c_i801'],
    ['a built-in driver', device('a', 'pcieport', { module: null }), 'a pcieport -'],
    ['one that may decline, and took it', device('a', 'radeon', { certainty: 'may-decline' }), 'a radeon radeon'],
    ['one that may decline, and did', device('a', 'radeon', { certainty: 'may-decline' }), 'a - -'],
    ['the one after it', device('a', 'vfio-pci', { certainty: 'may-decline', or: ['e1000e'] }), 'a e1000e e1000e'],
  ])('is right: %s', (_, one, line) => {
    expect(judged([one], line)).toMatchObject({ right: 1, faults: [] })
  })

  it.each([
    ['another driver', device('a', 'vfio-pci'), 'a e1000e e1000e'],
    ['a driver where there should be none', device('a', null), 'a e1000e e1000e'],
    ['none', device('a', 'vfio-pci'), 'a - -'],
    ['neither of two', device('a', 'vfio-pci', { certainty: 'may-decline', or: ['e1000e'] }), 'a igb igb'],
    ['certain is certain', device('a', 'vfio-pci', { or: ['e1000e'] }), 'a e1000e e1000e'],
  ])('is wrong, with the line: %s', (_, one, line) => {
    expect(judged([one], line)).toMatchObject({ right: 0, faults: [expect.stringMatching(/^a has .*vfio\.conf:1: /)] })
  })

  it('speaks of every device, and of no other', () => {
    expect(judged([device('a', null)], 'b - -').faults).toEqual([
      'b has -: nothing was said of it',
      'a: foreseen, and not there',
    ])
  })

  it.each([
    [20, []],
    [19, ['1 of 19 devices are undecided']],
  ])('may leave one of %d undecided, which is neither right nor wrong', (count, faults) => {
    const names = Array.from({ length: count }, (_, index) => `d${index}`)
    const devices = names.map((name, index) =>
      device(name, null, index === 0 ? { certainty: 'undecided', or: ['x'] } : {}),
    )
    expect(judged(devices, ...names.map((name) => `${name} - -`))).toMatchObject({
      right: count - 1,
      undecided: 1,
      faults,
    })
  })

  it('is summed over boots', () => {
    const sum = noForesight()
    addForesight(sum, judged([device('a', null)], 'a - -'))
    addForesight(sum, judged([device('a', null)], 'a x x'))
    expect(sum.boots).toBe(2)
    expect(foresightLine(sum)).toBe('prediction: 2 devices, 1 right, 0 undecided, 1 wrong')
  })
})

describe('what bind-vfio --predict says', () => {
  const said = (boots: unknown[]) => ({ code: 0, stdout: JSON.stringify({ boots }), stderr: '' })

  it('is taken from the default entry, whatever that is', () => {
    const boots = [
      { entry: 'one', default: false, devices: [] },
      { entry: 'rescue', default: true, recovery: true, devices: [] },
    ]
    expect(readForesight(said(boots))?.entry).toBe('rescue')
    expect(() => readForesight(said(boots.slice(0, 1)))).toThrow(/no default entry among one/)
  })

  it('is nothing where the script has no such option, and a failure where it fails', () => {
    expect(
      readForesight({ code: 2, stdout: '', stderr: 'bind-vfio: --predict: no such option (--help lists them)\n' }),
    ).toBeNull()
    expect(() => readForesight({ code: 2, stdout: '', stderr: 'bind-vfio: no kernel\n' })).toThrow(/no kernel/)
  })
})
