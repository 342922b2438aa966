import { truncateSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { loadMachine, type Machine, machineDir, machineNames, scratchDir, writeMachine } from '../support/machine.ts'
import { PROJECT, runScript } from '../support/run.ts'

interface Card {
  card: string
  verdict: string
  reason: string
  bridge: string | null
  alongside: string[]
  staying: string[]
  quirk: { family: string; vendorReset: boolean; deviceSpecificFirst: boolean | null } | null
}

/** Verdicts of the named devices on a machine, which may be changed first. */
function check(name: string, devices: string[], change: (machine: Machine) => void = () => {}) {
  const machine = loadMachine(name)
  change(machine)
  const dir = scratchDir('reset')
  writeMachine(machine, dir)
  const ran = runScript('check-reset', ['--machine', dir, '--json', ...devices])
  const { cards } = JSON.parse(ran.stdout) as { cards: Card[] }
  return { code: ran.code, cards, card: cards[0] as Card }
}

function device(machine: Machine, address: string) {
  const found = machine.devices[address]
  if (found === undefined) throw new Error(`${address} is not in the machine`)
  return found
}

describe('check-reset', () => {
  it.each(machineNames())('%s: the whole table', async (name) => {
    const ran = runScript('check-reset', ['--machine', machineDir(name), '--root', machineDir(name)])
    await expect(ran.stdout + ran.stderr).toMatchFileSnapshot(`${PROJECT}test/golden/check-reset/${name}.txt`)
  })

  it('bus: a card with siblings is reset with its bus, and nothing else is on it', () => {
    const { code, card } = check('i9-14900k-vmd', ['02:00'])
    expect(card).toMatchObject({
      card: '0000:02:00',
      verdict: 'bus',
      bridge: '0000:00:1a.0',
      alongside: [],
      staying: [],
    })
    expect(code).toBe(0)
  })

  it('none: no reset and no bridge above', () => {
    const { code, card } = check('archwiki-reset', ['00:14.0'])
    expect(card.verdict).toBe('none')
    expect(card.reason).toContain('0000:00:14.0')
    expect(code).toBe(1)
  })

  it('ok: the function resets itself', () => {
    const { code, card } = check('archwiki-reset', ['00:1a.0'])
    expect([card.verdict, code]).toEqual(['ok', 0])
  })

  it('a bus reset that would hit a device that stays with the host is a problem, unless the guest gets both', () => {
    const behind = (machine: Machine): void => {
      // A second card on the same bus as the Quadro, in a group of its own, used by the host.
      const nic = { ...device(machine, '0000:00:1f.6'), group: 90, under: '0000:00:1a.0', reset: '' }
      machine.devices['0000:02:03.0'] = nic
    }
    const alone = check('i9-14900k-vmd', ['02:00'], behind)
    expect(alone.card).toMatchObject({ verdict: 'bus', alongside: ['0000:02:03.0'], staying: ['0000:02:03.0'] })
    expect(alone.code).toBe(1)
    const both = check('i9-14900k-vmd', ['02:00', '02:03.0'], behind)
    expect(both.cards.map((card) => card.staying)).toEqual([[], []])
    expect(both.code).toBe(0)
    const aside = check('i9-14900k-vmd', ['02:00'], (machine) => {
      behind(machine)
      device(machine, '0000:02:03.0').driver = 'vfio-pci'
    })
    expect([aside.card.staying, aside.code]).toEqual([[], 0])
  })

  it.each([
    ['7310', 'Navi 10'],
    ['7340', 'Navi 14'],
    ['67df', 'Polaris 10'],
    ['699f', 'Polaris 12'],
    ['687f', 'Vega 10'],
    ['66af', 'Vega 20'],
  ])('quirk: 1002:%s is %s; vendor-reset and device_specific are told', (id, family) => {
    const gpu = (machine: Machine, reset: string): void => {
      const found = Object.values(machine.devices).find((one) => one.class.startsWith('0300'))
      if (found === undefined) throw new Error('no GPU')
      found.id = `1002:${id}`
      found.reset = reset
    }
    const without = check('x570-navi10', ['--gpu'], (machine) => gpu(machine, 'bus'))
    expect(without.card).toMatchObject({
      verdict: 'quirk',
      quirk: { family, vendorReset: false, deviceSpecificFirst: false },
    })
    expect(without.card.reason).toContain('load the vendor-reset module')
    const loaded = check('x570-navi10', ['--gpu'], (machine) => {
      gpu(machine, 'device_specific bus')
      machine.files = { ...machine.files, '/sys/module/vendor_reset/initstate': 'live\n' }
    })
    expect(loaded.card.quirk).toMatchObject({ family, vendorReset: true, deviceSpecificFirst: true })
    const last = check('x570-navi10', ['--gpu'], (machine) => {
      gpu(machine, 'bus device_specific')
      machine.files = { ...machine.files, '/sys/module/vendor_reset/initstate': 'live\n' }
    })
    expect(last.card.reason).toContain('device_specific is not first')
  })

  it('the neighbours of those IDs are no quirk: 1002:73bf (Navi 21), 10de:7310, an AMD audio function', () => {
    for (const id of ['1002:73bf', '10de:7310']) {
      const { cards } = check('x570-navi10', ['--gpu'], (machine) => {
        for (const one of Object.values(machine.devices)) if (one.class.startsWith('0300')) one.id = id
      })
      expect(cards.map((card) => card.quirk)).toEqual([null])
    }
  })

  it('a virtual function is a card of its own, and its physical function is not dragged along', () => {
    const { cards } = check('sriov-nic', ['--net'])
    const virtual = cards.filter(({ card }) => /\.\d$/.test(card))
    expect(virtual.length).toBeGreaterThan(1)
    expect(virtual.every(({ verdict }) => verdict === 'ok')).toBe(true)
  })

  it('nothing matches: says so, exit 1', () => {
    const ran = runScript('check-reset', ['--machine', machineDir('i9-14900k-vmd'), '7f:00'])
    const stderr = 'check-reset: 7f:00: no such device on this machine\ncheck-reset: nothing matches\n'
    expect(ran).toEqual({ code: 1, stdout: '', stderr })
  })

  it('without root the capability list is unknown, not absent', () => {
    const machine = loadMachine('i9-14900k-vmd')
    const dir = scratchDir('short')
    writeMachine(machine, dir)
    // What a user other than root is given: the first 64 bytes.
    const config = `${dir}/sys/devices/pci0000:00/0000:00:1a.0/0000:02:00.0/config`
    truncateSync(config, 64)
    const ran = runScript('check-reset', ['--machine', dir, '--json', '02:00.0'])
    const { cards } = JSON.parse(ran.stdout)
    expect(ran.stderr).toBe(
      'check-reset: configuration space: cut after 64 bytes, MSI and MSI-X unknown: try as root\n',
    )
    expect(cards[0].functions[0]).toMatchObject({ address: '0000:02:00.0', msi: null, msix: null })
  })
})
