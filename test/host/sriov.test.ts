import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectFreeFunctions } from '../../lib/commands/undo-claims.ts'
import { openMachine, readPciFacts } from '../../lib/host/machine.ts'
import { predictedFunctions, type Sriov } from '../../lib/host/sriov.ts'
import { machineDir } from '../support/machine.ts'
import { runScript } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

const sriov = (offset: number | null, stride: number | null): Sriov => {
  return { total: 64, number: 0, autoprobe: true, vfDevice: '154c', offset, stride }
}

describe('the addresses of virtual functions are predicted', () => {
  // As lspci has them on an X710 (offset 16), an 82599 (offset 128, stride 2), an NVMe drive, and over a bus.
  it.each<[string, number, number, number, string, string]>([
    ['0000:3b:00.0', 16, 1, 64, '0000:3b:02.0', '0000:3b:09.7'],
    ['0000:01:00.1', 128, 2, 3, '0000:01:10.1', '0000:01:10.5'],
    ['0000:06:00.0', 1, 1, 4, '0000:06:00.1', '0000:06:00.4'],
    ['0000:5e:00.0', 256, 1, 2, '0000:5f:00.0', '0000:5f:00.1'],
    ['10000:e1:00.0', 16, 1, 2, '10000:e1:02.0', '10000:e1:02.1'],
  ])('%s, offset %i, stride %i, %i of them', (address, offset, stride, count, first, last) => {
    const all = predictedFunctions(address, sriov(offset, stride), count)
    expect([all.length, all[0], all.at(-1)]).toEqual([count, first, last])
  })

  it('not where offset or stride are not known', () => {
    expect(predictedFunctions('0000:3b:00.0', sriov(null, 1), 2)).toEqual([])
    expect(predictedFunctions('0000:3b:00.0', sriov(16, null), 2)).toEqual([])
    expect(predictedFunctions('0000:3b:00.0', sriov(0, 0), 2)).toEqual([])
  })
})

/** The server, where a guest has the function 3b:02.0 open. */
function withGuest(): string {
  const dir = systemDir({
    machine: 'sriov-nic',
    files: {
      'proc/4711/comm': 'qemu-system-x86\n',
      'proc/4711/cmdline': 'qemu-system-x86_64\0-name\0guest=win11,debug-threads=on\0',
    },
  })
  mkdirSync(join(dir, 'proc/4711/fd'), { recursive: true })
  mkdirSync(join(dir, 'sys/dev/char'), { recursive: true })
  symlinkSync('/dev/vfio/32', join(dir, 'proc/4711/fd/20'))
  symlinkSync('../../devices/virtual/vfio/32', join(dir, 'sys/dev/char/245:0'))
  return dir
}

describe('list-iommu --sriov', () => {
  it('shows cards, their functions, and the guest that has one', () => {
    const { stdout } = runScript('list-iommu', ['--root', withGuest(), '--sriov'])
    expect(stdout).toMatch(/^3b:00\.0 .*: 4 of 64 virtual functions$/m)
    expect(stdout).toMatch(/^ *0 +3b:02\.0 +32 +vfio-pci +guest win11$/m)
    expect(stdout).toMatch(/^ *3 +3b:02\.3 +35 +- +-$/m)
    expect(stdout).toMatch(/^ {2}0000:af:00\.0 is on nvidia: .*sriov-manage/m)
  })

  it('says so where there are none, and is one view of several', () => {
    const none = ['--root', machineDir('x570-navi10'), '--sriov']
    expect(runScript('list-iommu', none).stdout).toMatch(/^No device can have virtual functions/)
    expect(runScript('list-iommu', [...none, '--usb-ports']).code).toBe(2)
  })
})

it('an undo frees no function that a guest has', () => {
  const machine = openMachine({ root: withGuest() })
  const devices = readPciFacts(machine, () => undefined).devices
  const undo = (card: string) => (): void =>
    expectFreeFunctions({ machine: machine.reader, files: machine.files }, () => devices, [
      { kind: 'external', tool: 'virtual-functions', path: '', token: `${card}=4=vfio-pci`, reason: '' },
    ])
  expect(undo('0000:3b:00.0')).toThrow(/0000:3b:02\.0 → \/dev\/vfio\/32 is open in qemu-system-x86\[4711\].*not freed/)
  expect(undo('0000:b0:00.0')).not.toThrow()
})
