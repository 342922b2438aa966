import { describe, expect, it } from 'vitest'
import { changesNow, withGroupMates } from '../../lib/bind/plan-binding.ts'
import { openMachine, readPciFacts } from '../../lib/host/machine.ts'
import { apply, bind, etcOf, expectRan, modprobe, system, undo } from '../support/bind.ts'
import { machineDir } from '../support/machine.ts'
import { systemDir, textOf } from '../support/system.ts'

// What is behind Intel VMD's controller vanishes when its driver lets go, and comes back in the guest: the controller
// alone is bound.

const behind = ['10000:e0:17.0', '10000:e1:00.0']

describe('of a VMD controller and what is behind it', () => {
  it.each([['00:0e.0'], ['10000:e1:00.0'], ['group:5']])('%s: the next boot binds the controller alone', (named) => {
    const dir = systemDir(system)
    const before = etcOf(dir)
    const plan = bind(dir, named)
    expectRan(plan, 1, /0000:00:0e\.0 alone is bound: 10000:e0:17\.0, 10000:e1:00\.0 are behind it and go with it/)
    expectRan(apply(dir, named), 0)
    expect(textOf(dir, modprobe)?.match(/^(options|softdep).*$/gm)).toEqual([
      'options vfio-pci ids=8086:a77f',
      'softdep vmd pre: vfio-pci',
    ])
    const { findings } = JSON.parse(bind(dir, '--status', '--json').stdout) as { findings: { summary: string }[] }
    expect(findings.filter(({ summary }) => behind.some((address) => summary.includes(address)))).toEqual([])
    expectRan(undo(dir), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it('--now gives the controller another driver, and nothing behind it', () => {
    const dir = machineDir(system.machine)
    const { devices } = readPciFacts(openMachine({ machine: dir, root: dir }), () => {})
    const chosen = withGroupMates(
      devices,
      devices.filter(({ address }) => address === '0000:00:0e.0'),
    )
    expect(chosen.map(({ address }) => address)).toEqual(['0000:00:0e.0', ...behind])
    expect(changesNow(chosen).map(({ address }) => address)).toEqual(['0000:00:0e.0'])
  })

  it('a module of NixOS, and a kernel with vmd built in, name the controller alone', () => {
    const nixos = bind(systemDir({ ...system, family: 'nixos' }), '00:0e.0')
    expectRan(nixos, 1, /8086:a77f/)
    expect(nixos.stdout).not.toMatch(/ids=.*(7ae2|15b7)|"ahci"|softdep (ahci|nvme)/)
    const dir = systemDir({ ...system, builtin: ['vmd'] })
    expectRan(bind(dir, '00:0e.0'), 0, /vmd is built into the kernel and has it first/)
  })
})
