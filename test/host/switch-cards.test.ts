import { describe, expect, it } from 'vitest'
import { apply, bind, expectRan, modprobe, undo } from '../support/bind.ts'
import { genDomain } from '../support/domain.ts'
import { device } from '../support/judge.ts'
import { loadMachine, type Machine, machineDir, scratchDir, writeMachine } from '../support/machine.ts'
import { runScript } from '../support/run.ts'
import { systemDir, textOf } from '../support/system.ts'

// A card whose display and audio are on two buses below the card's own switch is one card to every script.

/** The Arc's machine, changed. */
function arc(change: (machine: Machine) => void = () => {}): string {
  const machine = loadMachine('arc-a310')
  change(machine)
  const dir = scratchDir('switch')
  writeMachine(machine, dir)
  return dir
}

/** The addresses that `--card` finds of a function. */
function cardOf(dir: string, address: string): string[] {
  const { stdout } = runScript('list-iommu', ['--machine', dir, '--json', '--card', address])
  const { groups } = JSON.parse(stdout) as { groups: { devices: { address: string }[] }[] }
  return groups.flatMap(({ devices }) => devices.map((one) => one.address))
}

const WHOLE = ['0000:03:00.0', '0000:04:00.0']

describe('a card on several buses', () => {
  it('--card finds all of it, from any function', () => {
    const dir = arc()
    expect(cardOf(dir, '03:00.0')).toEqual(WHOLE)
    expect(cardOf(dir, '04:00.0')).toEqual(WHOLE)
  })

  it('shares one group with nothing else: isolated', () => {
    const dir = arc((machine) => {
      for (const address of WHOLE) device(machine, address).group = 18
    })
    const { stdout } = runScript('list-iommu', ['--machine', dir, '--json', '03:00'])
    expect(JSON.parse(stdout).groups).toMatchObject([{ id: 18, isolated: true }])
  })

  it('bind-vfio refuses a part, takes it whole by the slot of its display, and gives it back by that', () => {
    const dir = systemDir({ machine: 'arc-a310' })
    expectRan(bind(dir, '04:00'), 2, /partial-card[\s\S]*→ name the slot to take all functions: 0000:03:00\n/)
    expectRan(bind(dir, '03:00.0'), 2, /partial-card[\s\S]*0000:04:00\.0 .* is not chosen/)
    expectRan(apply(dir, '03:00'), 0)
    expect(textOf(dir, modprobe)).toContain('ids=8086:56a6,8086:4f92')
    expectRan(undo(dir, '03:00'), 0)
    expect(textOf(dir, modprobe)).toBeNull()
  })

  it('check-reset judges it as one; each bus is reset by itself', () => {
    const { stdout } = runScript('check-reset', ['--machine', arc(), '--json', '04:00.0'])
    const [card, ...more] = JSON.parse(stdout).cards
    expect(more).toEqual([])
    expect(card).toMatchObject({ card: '0000:03:00', verdict: 'bus', bridge: '0000:02:04.0', staying: [] })
    expect(card.functions.map((one: { address: string }) => one.address)).toEqual(WHOLE)
  })

  it('gen-domain gives it one slot of the guest, the display first', () => {
    const { stdout, stderr } = genDomain(
      arc((machine) => {
        machine.files = { ...machine.files, '/proc/meminfo': 'MemTotal:       65536000 kB\n' }
      }),
      ...['--name', 'arc', '--guest', 'linux', '--gpu', '03:00', '--firmware', 'bios', '--explain'],
    )
    const places = [...stdout.matchAll(/<address type='pci' domain='0x0000' bus='0x01' slot='0x00' (.*)\/>/g)]
    expect(places.map(([, rest]) => rest)).toEqual(["function='0x0' multifunction='on'", "function='0x1'"])
    expect(stdout.indexOf("bus='0x03' slot='0x00'")).toBeLessThan(stdout.indexOf("bus='0x04' slot='0x00'"))
    expect(stderr).toContain('parts of one card behind its own switch')
  })
})

describe('not one card', () => {
  it.each<[string, (machine: Machine) => void]>([
    ['another vendor below the switch', (machine) => (device(machine, '0000:04:00.0').id = '10de:10fa')],
    ['another board', (machine) => (device(machine, '0000:04:00.0').subsystem = '1849:6004')],
    ['a second display', (machine) => (device(machine, '0000:04:00.0').class = '030000')],
    ['a drive', (machine) => (device(machine, '0000:04:00.0').class = '010802')],
    [
      'a switch of another vendor: a riser, the mainboard',
      (machine) => {
        for (const port of ['0000:01:00.0', '0000:02:01.0', '0000:02:04.0']) device(machine, port).id = '10b5:8747'
      },
    ],
    [
      'two ports of the chipset, without a switch',
      (machine) => {
        device(machine, '0000:03:00.0').under = '0000:00:1b.0'
        device(machine, '0000:04:00.0').under = '0000:00:1c.0'
      },
    ],
  ])('%s', (_, change) => {
    expect(cardOf(arc(change), '03:00.0')).toEqual(['0000:03:00.0'])
  })

  it('the RX 5700 behind its switch: one slot, as before', () => {
    expect(cardOf(machineDir('x570-navi10'), '0b:00.1')).toEqual(['0000:0b:00.0', '0000:0b:00.1'])
  })
})
