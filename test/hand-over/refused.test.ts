// What speaks against a hand-over, or goes wrong on the way: all is as before, and one line says why.
import { describe, expect, it } from 'vitest'
import {
  audio,
  type CardMachine,
  cardLines,
  cardMachine,
  driversOf,
  expectRight,
  gpu,
  opened,
  qemu,
  RECORD,
} from '../support/hand-over-kernel.ts'

const place = 'sys/devices/pci0000:00/0000:00:01.0'
const other = '0000:02:00.0'
const neighbour = (driver: string, group: boolean): Record<string, string> => ({
  [`${place}/${other}/driver`]: `→ ../../../../bus/pci/drivers/${driver}`,
  [`sys/bus/pci/devices/${other}`]: `→ ../../../devices/pci0000:00/0000:00:01.0/${other}`,
  [`sys/bus/pci/drivers/${driver}/${other}`]: `→ ../../../../devices/pci0000:00/0000:00:01.0/${other}`,
  ...(group
    ? { [`sys/kernel/iommu_groups/11/devices/${other}`]: `→ ../../../../devices/pci0000:00/0000:00:01.0/${other}` }
    : {}),
})
const picture = `00000000-0009ffff : System RAM
c0000000-efffffff : PCI Bus 0000:00
  d0000000-e01fffff : PCI Bus 0000:01
    d0000000-dfffffff : ${gpu}
      d0000000-d07e8fff : BOOTFB
        d0000000-d07e8fff : simpledrm
`
function expectRefused(machine: CardMachine, why: RegExp): void {
  const before = machine.state()
  const ran = machine.run('take')
  expect({ code: ran.code, stdout: ran.stdout }, ran.stderr).toEqual({ code: 1, stdout: '' })
  expect(machine.why()).toMatch(why)
  expect(machine.state()).toBe(before)
  expect(machine.has(RECORD)).toBe(false)
  expectRight(machine)
}

describe('before anything is stopped', () => {
  const nvidia = { driver: 'nvidia' } as const
  it.each([
    ['vfio-pci is missing', {}, { 'sys/bus/pci/drivers/vfio-pci': null, 'no-vfio_pci': '' }, 'there is no vfio-pci'],
    [
      'the device is another one',
      {},
      { [`${place}/${gpu}/device`]: '0x1234\n' },
      `${gpu} is not the device that it was`,
    ],
    ['the device is gone', {}, { [`sys/bus/pci/devices/${gpu}`]: null }, `${gpu} is not there`],
    ['the IOMMU is off', {}, { [`${place}/${gpu}/iommu_group`]: null }, `${gpu} has no IOMMU group`],
    ['the host uses one of its group', {}, neighbour('e1000e', true), `${other} is in the same IOMMU group`],
    ['another NVIDIA card stays', nvidia, neighbour('nvidia', false), `${other} is another NVIDIA card`],
    [
      'the host has no driver for it, only the picture of the firmware',
      { second: true },
      { [`${place}/${gpu}/driver`]: null, [`sys/bus/pci/drivers/amdgpu/${gpu}`]: null, 'proc/iomem': picture },
      `${gpu} shows the picture of the firmware`,
    ],
    [
      'the machine is another one',
      {},
      { 'etc/hand-over.d/win11': `board X570\n${cardLines}`, 'sys/class/dmi/id/board_name': 'B650\n' },
      'its board is B650, not X570',
    ],
    [
      'another card of the same kind is there',
      {},
      { 'etc/hand-over.d/win11': `function ${gpu} 1002 73bf 1043:04f0 /${place}/${gpu}\nstop gdm.service\n` },
      `${gpu} is not the device that it was`,
    ],
    [
      'the slot has another address now',
      {},
      { 'etc/hand-over.d/win11': `function ${gpu} 1002 73bf 1462:3951 /sys/devices/pci0000:00/${gpu}\n` },
      `${gpu} is not the device that it was`,
    ],
    [
      'another guest has it',
      {},
      { 'run/vfio-scripts/hand-over/linux/record': `begin 4\ndriver ${gpu} 1002:73bf amdgpu amdgpu (null)\n` },
      `${gpu} is with linux`,
    ],
  ])('where %s', (_, shape, files, why) => {
    const machine = cardMachine(shape)
    machine.write(files)
    expectRefused(machine, new RegExp(why))
    expect(machine.steps().filter((step) => !step.startsWith('modprobe'))).toEqual([])
  })

  it('where a guest that no hand-over knows has it', () => {
    const machine = cardMachine()
    machine.run('take')
    machine.write({ [RECORD]: null, ...qemu })
    expectRefused(
      machine,
      /is in use already: .*\/dev\/vfio\/11 by qemu-system-x86 \(process 4000 of machine-qemu.scope\)/,
    )
  })

  it('but not where all that its file says is so', () => {
    const machine = cardMachine()
    const known = `board X570\nfunction ${gpu} 1002 73bf 1462:3951 /${place}/${gpu}\nfunction ${audio} 1002 ab28\n`
    machine.write({ 'etc/hand-over.d/win11': `${known}stop gdm.service\n`, 'sys/class/dmi/id/board_name': 'X570\n' })
    machine.write(neighbour('pcieport', true))
    expect(machine.run('take').code).toBe(0)
  })
})

describe('on the way', () => {
  it.each([
    ['a unit does not stop', {}, { faults: 'fail systemctl stop gdm.service\n' }, 'gdm.service does not stop'],
    ['systemd does not answer', {}, { 'units/gdm.service': '' }, 'systemd does not answer for gdm.service'],
    [
      'a process does not let go',
      {},
      opened(2000, 'python3', '/system.slice/lab.service', 'dri/card0'),
      'it is in use: .*/dev/dri/card0 by python3 \\(process 2000 of lab.service\\)',
    ],
    [
      'a process has its memory mapped',
      {},
      {
        ...opened(2000, 'Web Content', '/x.slice'),
        'proc/2000/maps': '7f00-7fff rw-s 1000 00:05 12 ROOT/dev/dri/card0\n',
      },
      'it is in use: memory by Web Content',
    ],
    [
      'a module is in use',
      { driver: 'nvidia' },
      { 'sys/module/nvidia_uvm/refcnt': '1\n' },
      'module nvidia_uvm is in use',
    ],
    ['the text console stays', {}, { faults: 'fail put 0 *vtcon1/bind\n' }, 'the text console stays on the card'],
    ['unbinding fails', {}, { faults: `fail put ${gpu} *amdgpu/unbind\n` }, `${gpu}: amdgpu does not let go`],
    ['vfio-pci does not take it', {}, { faults: `fail bind ${audio} vfio-pci\n` }, `${audio} is not on vfio-pci`],
    [
      'the override is refused',
      {},
      { faults: `fail put vfio-pci *${audio}/driver_override\n` },
      `${audio} takes no other`,
    ],
    [
      'a unit for the guest does not start',
      {},
      {
        'etc/hand-over.d/win11': `${cardLines}stop gdm.service\nstart one.service\nstart smbd.service\n`,
        'units/one.service': 'inactive\n',
        faults: 'fail systemctl start smbd.service\n',
      },
      'smbd.service does not start',
    ],
  ])('where %s', (_, shape, files, why) => {
    const machine = cardMachine(shape as Parameters<typeof cardMachine>[0])
    machine.write(
      Object.fromEntries(
        Object.entries(files).map(([path, text]) => [path, text.replace(' ROOT', ` ${machine.root}`)]),
      ),
    )
    expectRefused(machine, new RegExp(why))
    expect(Number.parseFloat(machine.text('proc/uptime'))).toBeLessThan(100 + 90)
  })

  it('where a process opens the card again after all had let go', () => {
    const machine = cardMachine()
    const before = machine.state()
    const opens = 'mkdir -p "$ROOT/proc/950/fd" && ln -s "$ROOT/dev/snd/controlC1" "$ROOT/proc/950/fd/7"'
    machine.write({ each: `case "$*" in "put vfio-pci "*00.1/*) ${opens} ;; esac\n` })
    expect(machine.run('take').code).toBe(1)
    expect(machine.why()).toMatch(/snd_hda_intel does not let go, in use again: .*controlC1 by/)
    machine.write({ 'proc/950': null })
    expect(machine.state()).toBe(before)
    expectRight(machine)
  })

  it.each([
    ['unbinding', `hang put ${gpu} *amdgpu/unbind\n`],
    ['the override', `hang put vfio-pci *${gpu}/driver_override\n`],
  ])('where %s hangs in the kernel: the rest of the host is back, and the next start is refused', (_, faults) => {
    const machine = cardMachine()
    machine.write({ faults })
    expect(machine.run('take').code).toBe(1)
    expect(machine.why()).toMatch(/amdgpu does not let go|takes no other driver/)
    expect(machine.text('units/gdm.service')).toBe('active\n')
    expect(driversOf(machine)).toEqual([`${gpu} amdgpu`, `${audio} snd_hda_intel`])
    expect(Number.parseFloat(machine.text('proc/uptime'))).toBeLessThan(100 + 120)
    expect(machine.text(RECORD)).toBe(`driver ${gpu} 1002:73bf amdgpu amdgpu (null)\n`)
    expect(machine.run('take').code).toBe(1)
    expect(machine.why()).toBe('what was taken before is not back')
    expect(machine.steps().filter((step) => step.startsWith('systemctl'))).toEqual([])
    expectRight(machine)
  })
})
