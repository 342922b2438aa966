import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import type { Setting } from '../../lib/change/settings.ts'
import { expectFreeFunctions } from '../../lib/commands/undo-claims.ts'
import { openMachine, readPciFacts } from '../../lib/host/machine.ts'
import { externalSettings } from '../../lib/tune/feature.ts'
import { virtualFunctions } from '../../lib/tune/features/virtual-functions.ts'
import { bind, etcOf, expectRan, expectRefused, tune, write } from '../support/bind.ts'
import { INFINIBAND, NIC, retie, sriovServer, VF_PROGRAM, vfLines } from '../support/sriov.ts'

/** Has a guest hold the group's node open. */
function hold(dir: string, group: number): void {
  mkdirSync(join(dir, 'proc/4711/fd'), { recursive: true })
  mkdirSync(join(dir, 'sys/dev/char'), { recursive: true })
  symlinkSync(`/dev/vfio/${group}`, join(dir, 'proc/4711/fd/20'))
  symlinkSync(`../../devices/virtual/vfio/${group}`, join(dir, 'sys/dev/char/245:0'))
}

describe('tune-host --vfs', { concurrent: true }, () => {
  it('keeps bind-vfio from the card whose driver makes them', () => {
    const dir = sriovServer()
    const force = ['--force', 'virtual-functions', '--force', 'network', '--force', 'interface-up', '--force', 'ssh']
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expectRan(
      bind(dir, '3b:00', ...force),
      2,
      /3b:00\.0: tune-host makes virtual functions of it at every boot.*--undo vfs/,
    )
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(bind(dir, '3b:00', ...force).stderr).not.toMatch(/tune-host makes/)
  })

  it('writes the program, its unit and a rule for each time that the card gets its driver; undo', () => {
    const dir = sriovServer()
    const before = etcOf(dir)
    const plan = tune(dir, '--vfs', '3b:00.0=4')
    expectRan(plan, 1, /Predicted: 0000:3b:02\.0 to 0000:3b:02\.3/)
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(vfLines(dir)).toMatch(
      /^#= 0000:3b:00\.0 8086 1572 1028:1f9c \/sys\/devices\/\S+ 4 vfio-pci( [0-3]:mac=\S+){4}$/,
    )
    expect(statSync(join(dir, VF_PROGRAM)).mode & 0o777).toBe(0o755)
    expect(readFileSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'), 'utf8')).toContain(
      'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="0000:3b:00.0", ENV{DRIVER}=="?*", RUN+="/usr/bin/systemctl --no-block start vfio-scripts-virtual-functions@0000:3b:00.0.service"',
    )
    expect(readFileSync(join(dir, 'etc/systemd/system/vfio-scripts-virtual-functions@.service'), 'utf8')).toContain(
      `ExecStart=/${VF_PROGRAM} %i`,
    )
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it.each([2, 64])('makes %i of them, each with a MAC address that stays', (count) => {
    const of = (): string => {
      const dir = sriovServer()
      writeFileSync(join(dir, NIC, 'sriov_numvfs'), '0\n')
      expectRan(tune(dir, '--vfs', `3b:00.0=${count}`, ...write), 0)
      expect(new Set(vfLines(dir).match(/\d+:mac=\S+/g)).size).toBe(count)
      return vfLines(dir)
    }
    expect(of()).toBe(of())
  })

  it('gives what was asked to the functions, and the rest addresses of their own', () => {
    const dir = sriovServer()
    const words = ['--vf-mac', '0=52:54:00:AA:BB:CC', '--vf-vlan', '0=100', '--vf-trust', '1=on']
    expectRan(
      tune(dir, '--vfs', '3b:00.0=4', '--vfs-driver', 'host', ...words, '--vf-spoof-check', '0=off', ...write),
      0,
    )
    const [, own] = / 4 host (.*)$/.exec(vfLines(dir)) ?? []
    expect(own).toMatch(
      /^0:mac=52:54:00:aa:bb:cc 0:vlan=100 1:trust=on 0:spoofchk=off( [123]:mac=02(:[0-9a-f]{2}){5}){3}$/,
    )
    expect(new Set(own?.match(/mac=\S+/g)).size).toBe(4)
  })

  it('says how the functions that are there get what is new, and only then', () => {
    const dir = sriovServer()
    const says =
      /They are there already: the card gives them what is new.*by systemctl start vfio-scripts-virtual-functions@0000:3b:00\.0\.service/
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0, says)
    expect(tune(dir, '--vfs', '3b:00.0=4').stdout).not.toMatch(/what is new/)
    expectRan(tune(dir, '--vfs', '3b:00.0=4', '--vf-vlan', '0=100'), 1, says)
    expect(tune(dir, '--vfs', '3b:00.0=8').stdout).not.toMatch(/what is new/)
  })

  it('has one number for a card, and another card beside it', () => {
    const dir = sriovServer()
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expectRan(tune(dir, '--vfs', '3b:00.1=2', ...write), 0)
    writeFileSync(join(dir, NIC, 'sriov_numvfs'), '0\n')
    expectRan(tune(dir, '--vfs', '3b:00.0=8', ...write), 0, /the new value takes the place/)
    expect(vfLines(dir)).toMatch(/^#= 0000:3b:00\.1 .* 2 vfio-pci\n#= 0000:3b:00\.0 .* 8 vfio-pci /)
  })

  it.each<[string, string[], RegExp, Record<string, string>?]>([
    ['no number', ['--vfs', '3b:00.0'], /write CARD=N/],
    ['none', ['--vfs', '3b:00.0=0'], /none at all is --undo vfs/],
    ['more than there can be', ['--vfs', '3b:00.0=65'], /can have 64 at most/],
    ['a card that is not there', ['--vfs', '77:00.0=2'], /no such device/],
    ['a whole slot', ['--vfs', '3b:00=2'], /several functions; name one/],
    ['a virtual function', ['--vfs', '3b:02.1=2'], /virtual function itself, of 0000:3b:00\.0/],
    ['a card without SR-IOV', ['--vfs', 'b0:00.0=2'], /can have no virtual functions/],
    ['a GPU of NVIDIA', ['--vfs', 'af:00.0=2'], /sriov-manage/],
    ['a bad address', ['--vfs', '3b:00.0=4', '--vf-mac', '0=53:54:00:00:00:01'], /MAC address of one card/],
    [
      'an address twice',
      ['--vfs', '3b:00.0=4', '--vf-mac', '0=52:54:00:00:00:01', '--vf-mac', '1=52:54:00:00:00:01'],
      /given to two/,
    ],
    ['a function that there is not', ['--vfs', '3b:00.0=4', '--vf-vlan', '4=100'], /they are 0 to 3/],
    ['a VLAN that there is not', ['--vfs', '3b:00.0=4', '--vf-vlan', '0=4095'], /1 to 4094/],
    ['a value twice', ['--vfs', '3b:00.0=4', '--vf-trust', '0=on', '--vf-trust', '0=off'], /given twice/],
    ['an option alone', ['--vf-mac', '0=52:54:00:00:00:01'], /--vf-mac goes with --vfs/],
    [
      'a .link file that makes them',
      ['--vfs', '3b:00.0=4'],
      /10-sriov\.link:5: SR-IOVVirtualFunctions=2: makes virtual functions/,
      { 'etc/systemd/network/10-sriov.link': '[Match]\nDriver=i40e\n\n[Link]\nSR-IOVVirtualFunctions=2\n' },
    ],
    [
      'an option of the driver that makes them',
      ['--vfs', '3b:00.0=4'],
      /i40e\.conf:1: options i40e max_vfs=2: makes virtual functions/,
      { 'etc/modprobe.d/i40e.conf': 'options i40e max_vfs=2\n' },
    ],
    [
      'addresses of an InfiniBand card',
      ['--vfs', '3b:00.0=4', '--vf-mac', '0=52:54:00:00:00:01'],
      /is no Ethernet card/,
      { [`${NIC}/net/ens1/address`]: INFINIBAND },
    ],
    [
      'a profile of NetworkManager that makes them',
      ['--vfs', '3b:00.0=4'],
      /ens1\.nmconnection:3: total-vfs=2: makes/,
      { 'etc/NetworkManager/system-connections/ens1.nmconnection': '[connection]\n[sriov]\ntotal-vfs=2\n' },
    ],
  ])('refuses %s', (_, args, says, files) => {
    const dir = sriovServer(files)
    expectRefused(dir, args, says)
  })

  it.each<[string, string | null, RegExp]>([
    ['no driver', null, /has no driver, and only its driver makes virtual functions/],
    ['vfio-pci', 'vfio-pci', /is on vfio-pci, for a guest as a whole: .*enable_sriov.* VF token/],
    ['an i915 without them', 'i915', /is on i915: this i915 makes none: that of i915-sriov-dkms does/],
  ])('refuses a card on %s', (_, driver, says) => {
    const dir = sriovServer()
    retie(dir, driver)
    expectRan(tune(dir, '--vfs', '3b:00.0=2'), 2, says)
  })

  it('takes an i915 that makes them, and gives no MAC addresses to an InfiniBand card', () => {
    const dir = sriovServer({
      'sys/module/i915/parameters/max_vfs': '7\n',
      [`${NIC}/net/ens1/address`]: INFINIBAND,
    })
    retie(dir, 'i915')
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(vfLines(dir)).toMatch(/ 4 vfio-pci$/)
  })

  it('goes from one number to another only when nothing uses a function', () => {
    const held = {
      'proc/4711/comm': 'qemu-system-x86\n',
      'sys/devices/virtual/vfio/32/uevent': 'DEVNAME=vfio/32\n',
    }
    const dir = sriovServer(held)
    expectRan(tune(dir, '--vfs', '3b:00.0=8'), 1, /Its 4 virtual functions of now are freed first/)
    hold(dir, 32)
    expectRan(
      tune(dir, '--vfs', '3b:00.0=8'),
      2,
      /refused \(vf-in-use\).*0000:3b:02\.0 → \/dev\/vfio\/32 is open in qemu-system-x86\[4711\]/s,
    )
    expectRan(tune(dir, '--vfs', '3b:00.0=4'), 1)
  })
})

it('a .link file, a profile or a script for another card is none of this one', () => {
  const dir = sriovServer({
    'etc/systemd/network/10-other.link': '[Match]\nMACAddress=00:11:22:33:44:55\n\n[Link]\nSR-IOVVirtualFunctions=2\n',
    'etc/NetworkManager/system-connections/o.nmconnection': '[connection]\ninterface-name=eno1\n[sriov]\ntotal-vfs=2\n',
    'etc/rc.local': '#!/bin/sh\necho 2 >/sys/bus/pci/devices/0000:5e:00.0/sriov_numvfs\n',
    'etc/modprobe.d/igb.conf': 'options igb max_vfs=2\n',
    // The most that may be made.
    'etc/modprobe.d/gpu.conf': 'options i915 enable_guc=3 max_vfs=7\noptions xe max_vfs=7\n',
  })
  expectRan(tune(dir, '--vfs', '3b:00.0=4'), 1)
})

/** What the journal has of four functions that were made at once. */
const made: Setting[] = externalSettings('virtual-functions', ['0000:3b:00.0=4=vfio-pci'], 'asked')

describe('on the running machine', { concurrent: true }, () => {
  it('they are not taken back while a guest has one', () => {
    const dir = sriovServer({
      'proc/4711/comm': 'qemu-system-x86\n',
      'sys/devices/virtual/vfio/32/uevent': 'DEVNAME=vfio/32\n',
      'sys/class/net/lo/flags': '0x9\n',
    })
    const free = (): void => {
      const machine = openMachine({ root: dir })
      const hostOf = { machine: machine.reader, files: machine.files }
      expectFreeFunctions(hostOf, () => readPciFacts(machine, () => undefined).devices, made)
    }
    expect(free).not.toThrow()
    hold(dir, 32)
    expect(free).toThrow(
      /3b:02\.0 → \/dev\/vfio\/32 is open in qemu-system-x86\[4711\]: virtual functions in use are not/,
    )
  })

  it('--status looks at their number and drivers, and says that the card vanished', () => {
    const dir = sriovServer()
    const seen = (): string => {
      const { reader } = openMachine({ root: dir })
      const found = virtualFunctions.inForce?.({ machine: reader } as never, made as never) ?? []
      return found.map(({ state, summary, evidence }) => [state, summary, ...evidence].join('; ')).join()
    }
    expect(seen()).toMatch(/^problem; 0000:3b:00\.0 has 4 virtual functions; 0000:3b:02\.1 is on iavf, not on vfio-pci/)
    writeFileSync(join(dir, NIC, 'sriov_numvfs'), '2\n')
    expect(seen()).toMatch(/^problem; 0000:3b:00\.0 has 2 virtual functions, not 4/)
    rmSync(join(dir, 'sys/bus/pci/devices/0000:3b:00.0'))
    expect(seen()).toMatch(/^unknown; 0000:3b:00\.0 is not there/)
  })
})
