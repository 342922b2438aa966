import { Buffer } from 'node:buffer'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { check, create, QUADRO, reset, tree } from '../support/evidence.ts'
import { device } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'
import { runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

// What keeps a device from guests although its group is whole and nobody uses it: the kernel's own words about it, no
// answer from it, a mapping that the firmware insists on.

const BOOT = '[    0.000000] Linux version 6.14.0'

describe('the kernel log', () => {
  const log =
    (...lines: string[]) =>
    (machine: Machine) => {
      machine.log = [BOOT, ...lines]
    }
  const FLR = `[  812.3] vfio-pci ${QUADRO}: not ready 65535ms after FLR; giving up`

  it('cards that did not come back: failed, in the words of the kernel', () => {
    const lines = [
      FLR,
      '[  90.1] vfio-pci 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible',
      '[  90.1] nvme 10000:e1:00.0: Refused to change power state, currently in D3',
    ]
    const { code, cards } = reset(tree('i9-14900k-vmd', log(...lines)), '02:00', '01:00', '10000:e1:00')
    const found = new Map(cards.map((card) => [card.card, card]))
    for (const [index, card] of ['0000:02:00', '0000:01:00', '10000:e1:00'].entries())
      expect(found.get(card)).toMatchObject({
        verdict: 'failed',
        evidence: [lines[index]],
        reason: expect.stringContaining('power the host off'),
      })
    expect(code).toBe(1)
  })

  it('of another device, or still waiting: nothing', () => {
    const other = log(
      FLR.replace(QUADRO, '0000:01:00.0'),
      FLR.replace('65535ms after FLR; giving up', '1023ms after FLR; waiting'),
    )
    expect(reset(tree('i9-14900k-vmd', other), '02:00').cards[0]).toMatchObject({ verdict: 'bus', evidence: [] })
  })

  it('check-host names what the kernel said of the card, and what to do', () => {
    const lines = [
      `[  5.1] vfio-pci ${QUADRO}: No more image in the PCI ROM`,
      `[  5.2] vfio-pci ${QUADRO}: BAR 1: can't reserve [mem 0x4000000000-0x400fffffff 64bit pref]`,
      '[  5.3] DMAR: [DMA Read NO_PASID] Request device [02:00.0] fault addr 0x7f000 [fault reason 0x06] PTE Read access is not set',
      '[  5.4] vfio-pci 0000:02:00.1: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x001e address=0x1da414000 flags=0x0050]',
      '[  5.5] DMAR: [DMA Read NO_PASID] Request device [01:00.0] fault addr 0x7f000 [fault reason 0x06] PTE Read access is not set',
    ]
    const found = check(tree('i9-14900k-vmd', log(...lines)), '02:00')('device-log')
    expect(found).toMatchObject({ state: 'problem', evidence: lines.slice(0, 4) })
    expect(found?.next).toMatch(/--rom FILE/)
    expect(check(tree('i9-14900k-vmd', log()), '02:00')('device-log')?.state).toBe('ok')
    const none = check(
      tree('i9-14900k-vmd', (machine) => {
        machine.log = null
      }),
      '02:00',
    )('device-log')
    expect(none).toMatchObject({ state: 'unknown', evidence: ['no kernel log was captured'] })
  })

  it('a log that was not read is said, not taken for an empty one', () => {
    const none = (machine: Machine): void => {
      machine.log = null
    }
    const unread = reset(tree('i9-14900k-vmd', none), '02:00')
    expect([unread.log, unread.stderr]).toEqual([
      false,
      'check-reset: whether a reset failed already is not known: no kernel log was captured\n',
    ])
    expect(reset(tree('i9-14900k-vmd', log()), '02:00')).toMatchObject({ log: true, stderr: '' })
  })

  it('gen-domain refuses a card that did not come back', () => {
    const ran = create(log(FLR), '--gpu', '02:00')
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('giving up')
    expect(create(log(FLR), '--gpu', '02:00', '--force', 'reset').code).toBe(0)
  })
})

describe('a device that does not answer', () => {
  const silent = (machine: Machine): void => {
    device(machine, QUADRO).silent = true
  }

  it('check-reset and check-host: power the host off', () => {
    const { code, cards } = reset(tree('i9-14900k-vmd', silent), '02:00')
    expect([code, cards[0]?.verdict]).toEqual([1, 'failed'])
    expect(cards[0]?.reason).toMatch(/configuration space reads ff.*power the host off, a reboot may not do/)
    expect(check(tree('i9-14900k-vmd', silent), '02:00')('no-answer')).toMatchObject({
      state: 'problem',
      evidence: ['0000:02:00.0: its configuration space reads ff'],
      next: expect.stringContaining('power the host off'),
    })
  })

  it('bind-vfio and gen-domain refuse it, and are overridden by name', () => {
    const dir = systemDir({ machine: 'i9-14900k-vmd' })
    writeFileSync(join(dir, 'sys/bus/pci/devices', QUADRO, 'config'), Buffer.alloc(256, 0xff))
    expect(runScript('bind-vfio', ['--root', dir, '02:00']).stderr).toContain('refused (no-answer)')
    expect(create(silent, '--gpu', '02:00').stderr).toContain('refused (no-answer)')
    expect(create(silent, '--gpu', '02:00', '--force', 'no-answer', '--force', 'reset').code).toBe(0)
  })
})

describe('reserved regions', () => {
  const region = (type: string, change: (machine: Machine) => void = () => {}) => {
    const set = (machine: Machine): void => {
      const { group } = device(machine, QUADRO)
      machine.reserved = { [`${group}`]: [`0x00000000bdf6f000 0x00000000bdf83fff ${type}`] }
      change(machine)
    }
    return set
  }
  const on = (change: (machine: Machine) => void): string => tree('i9-14900k-vmd', change)
  const state = (change: (machine: Machine) => void) => check(on(change), '02:00')('reserved-region')

  it('direct keeps the group from guests, direct-relaxable and reserved do not', () => {
    expect(state(region('direct'))).toMatchObject({
      state: 'problem',
      forceable: true,
      evidence: ['group 14: 0x00000000bdf6f000 to 0x00000000bdf83fff is mapped directly (direct)'],
    })
    for (const type of ['direct-relaxable', 'reserved']) expect(state(region(type))?.state).toBe('ok')
  })

  it("the way out is the vendor's", () => {
    expect(state(region('direct'))?.next).toMatch(/RMRR/)
    const hpe = region('direct', (machine) => {
      machine.dmi.sys_vendor = 'HPE'
    })
    expect(state(hpe)?.next).toMatch(/conrep/)
    const amd = tree('x570-navi10', (machine) => {
      machine.kernel = '6.8.0'
      machine.reserved = { 25: ['0x00000000a0000000 0x00000000a0ffffff direct'] }
    })
    expect(check(amd, '0b:00.0')('reserved-region')?.next).toMatch(/Kernel DMA Protection/)
  })

  it('AMD before Linux 6.6, and displays on Intel before 5.3: the kernel minds not', () => {
    const amd = tree('x570-navi10', (machine) => {
      machine.reserved = { 25: ['0x00000000a0000000 0x00000000a0ffffff direct'] }
    })
    expect(check(amd, '0b:00.0')('reserved-region')?.state).toBe('ok')
    const old = (type: string) =>
      region('direct', (machine) => {
        machine.kernel = '4.19.0'
        device(machine, QUADRO).class = type
        device(machine, '0000:02:00.1').class = type
      })
    expect(state(old('030000'))?.state).toBe('ok')
    expect(state(old('020000'))?.state).toBe('problem')
  })

  it('what was not seen is not taken for none', () => {
    const old = (machine: Machine): void => {
      machine.kernel = '4.4.0'
    }
    expect(state(old)).toMatchObject({ state: 'unknown', evidence: [expect.stringContaining('group 14')] })
  })

  it('bind-vfio and gen-domain refuse by name, and do as they are told', () => {
    const group = 'sys/kernel/iommu_groups/14/reserved_regions'
    const files = { [group]: '0x00000000bdf6f000 0x00000000bdf83fff direct\n' }
    const dir = systemDir({ machine: 'i9-14900k-vmd', files })
    const ran = runScript('bind-vfio', ['--root', dir, '02:00'])
    expect([ran.code, ran.stdout]).toEqual([2, ''])
    expect(ran.stderr).toContain('refused (reserved-region)')
    expect(runScript('bind-vfio', ['--root', dir, '02:00', '--force', 'reserved-region']).stderr).not.toContain(
      'refused (reserved-region)',
    )
    const guest = create(region('direct'), '--gpu', '02:00')
    expect([guest.code, guest.stdout]).toEqual([2, ''])
    expect(guest.stderr).toContain('refused (reserved-region)')
    expect(create(region('direct'), '--gpu', '02:00', '--force', 'reserved-region').code).toBe(0)
  })
})
