import { describe, expect, it } from 'vitest'
import { type Card, check, create, QUADRO, reset, tree } from '../support/evidence.ts'
import { device } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'

const fates = ({ functions }: Card): string[] => functions.map(({ address, left }) => `${address} ${left ?? 'stays'}`)

describe('reset of what goes to the guest', () => {
  // Dummy, PSP, USB and audio functions of one slot, each in a group of its own.
  const parts = (): string => tree('x570-navi10', () => {})

  it('VFIO refuses a bus reset that would hit groups which stay with the host', () => {
    const { code, cards } = reset(parts(), '0d:00.4')
    const [card] = cards as [Card]
    expect(code).toBe(1)
    expect(card).toMatchObject({ verdict: 'bus', staying: ['0000:0d:00.0', '0000:0d:00.1', '0000:0d:00.3'] })
    expect(fates(card)).toEqual([
      '0000:0d:00.0 stays',
      '0000:0d:00.1 stays',
      '0000:0d:00.3 stays',
      '0000:0d:00.4 refused',
    ])
    expect(card.reason).toContain('Cannot reset device 0000:0d:00.4, depends on group 28 which is not owned')
    expect(card.reason).toContain('0000:0d:00.3 (group 30)')
  })

  it('what a function can do alone still runs', () => {
    const alone = reset(parts(), '0d:00.3')
    expect([alone.code, alone.cards[0]?.verdict, alone.cards[0]?.staying]).toEqual([0, 'ok', []])
    const both = reset(parts(), '0d:00.3', '0d:00.4')
    expect([both.code, both.cards[0]?.verdict]).toEqual([1, 'bus'])
    expect(fates(both.cards[0] as Card).slice(2)).toEqual(['0000:0d:00.3 alone', '0000:0d:00.4 refused'])
    expect(both.cards[0]?.reason).toContain('0000:0d:00.3 has pm of its own, 0000:0d:00.4 has nothing')
  })

  it('all functions to one guest: nothing stays', () => {
    const { code, cards } = reset(parts(), '0d:00')
    expect([code, cards[0]?.staying]).toEqual([0, []])
    expect(fates(cards[0] as Card)).toEqual([
      '0000:0d:00.0 alone',
      '0000:0d:00.1 bus',
      '0000:0d:00.3 alone',
      '0000:0d:00.4 bus',
    ])
    // Nobody said what the guest gets: it is said what the verdict rests on.
    const all = reset(parts())
    expect(all.cards.find(({ card }) => card === '0000:0d:00')?.reason).toContain('if all functions go to one guest')
  })

  it('a device that waits for another guest is no device of the host', () => {
    const { code, cards } = reset(
      tree('x570-navi10', (machine) => {
        for (const end of ['0', '1', '3']) device(machine, `0000:0d:00.${end}`).driver = 'vfio-pci'
      }),
      '0d:00.4',
    )
    expect([code, cards[0]?.staying]).toEqual([0, []])
    expect(cards[0]?.reason).toContain('when no guest uses 0000:0d:00.0')
  })

  it('a bridge on the bus cannot be given along: the reset is refused', () => {
    const { code, cards } = reset(
      tree('x570-navi10', (machine) => {
        machine.devices['0000:07:00.1'] = { class: '060400', id: '10b5:8112', group: 18, under: '0000:02:09.0' }
      }),
      '07:00.0',
    )
    expect([code, cards[0]?.staying]).toEqual([1, ['0000:07:00.1']])
  })

  it('check-host and gen-domain say the same', () => {
    const apart = (machine: Machine): void => {
      machine.devices['0000:02:00.2'] = { class: '0c0330', id: '10de:1ad8', group: 90, under: '0000:00:1a.0' }
    }
    const found = check(tree('i9-14900k-vmd', apart), '02:00.0')
    expect(found('reset')).toMatchObject({
      state: 'problem',
      evidence: [expect.stringContaining('depends on group 90 which is not owned')],
    })
    const ran = create(apart, '--gpu', '02:00.0', '--gpu', '02:00.1', '--force', 'partial-card')
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('refused (reset): ')
    expect(ran.stderr).toContain('depends on group 90 which is not owned')
  })
})

describe('known trouble', () => {
  /** A machine with these cards, each of which resets itself, and what is said of them. */
  function judged(ids: readonly string[], type = '030000'): ReturnType<typeof reset> {
    const dir = tree('i9-14900k-vmd', (machine) => {
      for (const [index, id] of ids.entries())
        machine.devices[`0000:02:${(index + 1).toString(16).padStart(2, '0')}.0`] = {
          class: type,
          id,
          group: 100 + index,
          under: '0000:00:1a.0',
          reset: 'flr bus',
        }
    })
    return reset(dir, ...ids)
  }

  it('who says so, since when, how sure', () => {
    const families = {
      '10de:2b85': 'GeForce RTX 5090',
      '10de:2bb1': 'RTX PRO 6000 Blackwell',
      '1002:744c': 'Navi 31',
      '1002:747e': 'Navi 32',
      '1002:7550': 'Navi 48',
      '1002:15bf': 'Phoenix',
      '1002:164e': 'Raphael',
    }
    const { code, cards } = judged(Object.keys(families))
    expect(cards.map(({ verdict, quirk }) => [verdict, quirk?.family, quirk?.harmful])).toEqual(
      Object.values(families).map((family) => ['quirk', family, false]),
    )
    for (const { quirk, reason } of cards) {
      expect(quirk).toMatchObject({
        source: expect.stringMatching(/^https:\/\//),
        since: expect.stringMatching(/^20\d\d-\d\d$/),
        sure: expect.stringMatching(/^(driver|reports|report)$/),
      })
      // The module has no word of them.
      expect(reason).not.toContain('load the vendor-reset module')
    }
    expect(code).toBe(0)
  })

  it('MI300X, MI355X: any reset loses it until the host reboots, and none is advised', () => {
    const { code, cards } = judged(['1002:74a1', '1002:75a3'], '120000')
    expect(code).toBe(1)
    expect(cards.map(({ quirk }) => [quirk?.family, quirk?.harmful])).toEqual([
      ['Instinct MI300X', true],
      ['Instinct MI355X', true],
    ])
    for (const { verdict, reason } of cards) {
      expect([verdict, reason]).toEqual(['quirk', expect.stringMatching(/virtual functions/)])
      expect(reason).not.toMatch(/reset_method|load the|another slot/)
    }
    const instinct = (machine: Machine): void => {
      Object.assign(device(machine, QUADRO), { id: '1002:74a1', class: '120000' })
    }
    expect(check(tree('i9-14900k-vmd', instinct), '02:00')('reset')?.state).toBe('problem')
  })

  it('neighbours of those IDs are none: RTX 5080, Navi 33, a virtual function of an MI300X', () => {
    const { cards } = judged(['10de:2c02', '1002:7480', '1002:74b5'])
    expect(cards.map(({ verdict, quirk }) => [verdict, quirk])).toEqual(Array.from({ length: 3 }, () => ['ok', null]))
  })
})
