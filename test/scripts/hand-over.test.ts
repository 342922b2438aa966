// A card handed over to a guest while the host runs: plan, refusals, what is written, status, undo.
import { mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { type Ran, runScript } from '../support/run.ts'
import { type System, snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const uuid = 'c0ffee00-0000-4000-8000-000000000001'
const hostdev = (bus: string, fn = '0'): string =>
  `<hostdev mode='subsystem' type='pci' managed='yes'><source><address domain='0x0000' bus='0x${bus}' slot='0x00' function='0x${fn}'/></source></hostdev>`
const domain = (name: string, devices = '', id = uuid): string =>
  `<domain type='kvm'><name>${name}</name><uuid>${id.toUpperCase()}</uuid><devices>${devices}</devices></domain>`

const desktop = {
  'usr/lib/systemd/systemd': '',
  'usr/lib/systemd/system/libvirtd.service': '',
  'usr/lib/systemd/system/gdm.service': '',
  'usr/lib/systemd/system/smbd.service': '',
  'etc/systemd/system/display-manager.service': '→ /usr/lib/systemd/system/gdm.service',
  'etc/libvirt/qemu/win11.xml': domain('win11', hostdev('05')),
}

/** A process that has a node of a function open, in a control group. */
function hold(dir: string, address: string, name: string, group: string, process = 'Xorg', pid = 812): void {
  const folder = `${realpathSync(join(dir, 'sys/bus/pci/devices', address)).slice(dir.length)}/${name}`
  writeIn(dir, `${folder}/uevent`, `MAJOR=226\nMINOR=${pid % 256}\nDEVNAME=${name}\n`)
  writeIn(dir, `sys/dev/char/226:${pid % 256}`, `→ ../..${folder.slice('/sys'.length)}`)
  writeIn(dir, 'proc/1/comm', 'systemd\n')
  mkdirSync(join(dir, 'proc/1/fd'), { recursive: true })
  writeIn(dir, `proc/${pid}/comm`, `${process}\n`)
  writeIn(dir, `proc/${pid}/cgroup`, `${group}\n`)
  writeIn(dir, `proc/${pid}/fd/4`, `→ /dev/${name}`)
}

const system = (machine: string, files: Record<string, string | null> = {}): string =>
  systemDir({ machine, files: { ...desktop, ...files } } as System)
const handOver = (dir: string, ...args: string[]): Ran => runScript('hand-over', ['--root', dir, ...args])
const write = ['--apply', '--no-commands'] as const
const conf = 'etc/vfio-scripts/hand-over.d/win11'
const hook = 'etc/libvirt/hooks/qemu.d/50-vfio-scripts-hand-over'

function expectRefused(dir: string, args: readonly string[], says: RegExp): void {
  const before = snapshotOf(dir)
  expectRan(handOver(dir, ...args, '--apply'), 2, says)
  expect(snapshotOf(dir)).toBe(before)
}

describe('the plan', () => {
  it('names the functions, who starts and stops what, and writes nothing', () => {
    const dir = system('twin-gpus')
    const before = snapshotOf(dir)
    const ran = handOver(dir, 'win11', '05:00', '--stop', 'smbd')
    expectRan(ran, 1, /win11 gets 2 functions when it starts.*05:00\.0.*nouveau now.*2\. stop smbd\.service/s)
    expect(ran.stdout).toMatch(/05:00\.0: nouveau → vfio-pci.*Nothing was written/s)
    // Another card shows the host's picture: nobody's session ends.
    expect(ran.stdout.split('/etc/')[0]).not.toMatch(/gdm|session/)
    expect(snapshotOf(dir)).toBe(before)
  })

  it('of the only display: its session ends, and the display manager is the last that comes back', () => {
    const files = { 'etc/libvirt/qemu/win11.xml': domain('win11', hostdev('0b')) }
    const ran = handOver(system('x570-navi10', files), 'win11', '0b:00', '--stop', 'smbd')
    expectRan(ran, 1, /2\. stop gdm\.service.*3\. stop smbd\.service.*4\. end the sessions/s)
    expect(ran.stdout).toMatch(/the session at the screen ends/)
    expect(ran.stdout).toMatch(/only display.*SSH/)
    expect(ran.stdout).toMatch(/check-reset 0000:0b:00\): quirk/)
  })

  it.each([
    [
      'listens',
      '   0: 00000000:0016 00000000:0000 0A 0 0 0 0 0 1 1\n',
      /reached over SSH \(a server listens on port 22\)/,
    ],
    ['does not', '   0: 0100007F:0277 00000000:0000 0A 0 0 0 0 0 1 1\n', /no SSH server listens on port 22/],
  ])('says whether an SSH server %s', (_, sockets, says) => {
    const dir = system('x570-navi10', { 'proc/net/tcp': `  sl  local_address\n${sockets}` })
    expectRan(handOver(dir, 'win11', '0b:00'), 1, says)
  })

  it('takes the devices of the guest where none are named', () => {
    expectRan(handOver(system('twin-gpus'), 'win11'), 1, /05:00\.0.*05:00\.1/s)
  })

  it('says that the guest has no such device yet', () => {
    const files = { 'etc/libvirt/qemu/win11.xml': domain('win11') }
    expectRan(
      handOver(system('twin-gpus', files), 'win11', '05:00'),
      1,
      /win11 has no 0000:05:00\.0, 0000:05:00\.1 yet/,
    )
    const both = { 'etc/libvirt/qemu/win11.xml': domain('win11', hostdev('05') + hostdev('05', '1')) }
    expect(handOver(system('twin-gpus', both), 'win11', '05:00').stdout).not.toMatch(/yet/)
  })

  it('warns of what names a card by its number', () => {
    const files = { 'etc/X11/xorg.conf.d/20-gpu.conf': 'Section "Device"\n  Option "kmsdev" "/dev/dri/card1"\n' }
    expectRan(handOver(system('twin-gpus', files), 'win11', '05:00'), 1, /20-gpu\.conf:2: .*by-path/)
  })

  it('without libvirt there is no hook of libvirt', () => {
    const dir = system('twin-gpus', { 'etc/libvirt/qemu/win11.xml': null })
    const ran = handOver(dir, 'win11', '05:00')
    expectRan(ran, 1, /libvirt has no part in it/)
    expect(ran.stdout).not.toContain('/etc/libvirt')
  })
})

describe('what is refused, with nothing written', () => {
  const apply: [string, string, Record<string, string | null>, string[], RegExp][] = [
    [
      'an unknown guest',
      'twin-gpus',
      {},
      ['win10', '05:00'],
      /win10: libvirt has no guest of this name; there is win11/,
    ],
    ['a name that no unit can have', 'twin-gpus', {}, ['my guest', '05:00'], /my guest: not a name for hand-over/],
    ['an unknown device', 'twin-gpus', {}, ['win11', '0f:00'], /0f:00: no such device/],
    [
      'an unknown unit',
      'twin-gpus',
      {},
      ['win11', '05:00', '--stop', 'nosuch'],
      /--stop nosuch: there is no nosuch\.service/,
    ],
    [
      'no systemd',
      'twin-gpus',
      { 'usr/lib/systemd/systemd': null },
      ['win11', '05:00'],
      /systemd, which does not start this system/,
    ],
    [
      'a card that is bound at boot',
      'i9-14900k-vmd',
      {},
      ['win11', '02:00'],
      /no-host-driver.*02:00\.0 is on vfio-pci already/s,
    ],
    ['a function that nothing drives', 'sriov-nic', {}, ['win11', '0000:af:00.6'], /no-host-driver|half-group/],
    [
      'one of several cards of NVIDIA’s driver',
      'sriov-nic',
      {},
      ['win11', '0000:af:00.4'],
      /same-driver.*af:00\.\d stays on nvidia/s,
    ],
    ['no IOMMU', 'kernel-off', {}, ['win11', '01:00'], /no-group/],
    [
      'a guest without a device of the host',
      'twin-gpus',
      { 'etc/libvirt/qemu/win11.xml': domain('win11') },
      ['win11'],
      /win11 has no device of this host/,
    ],
    [
      'a file that is no domain',
      'twin-gpus',
      { 'etc/libvirt/qemu/win11.xml': '<network/>' },
      ['win11', '05:00'],
      /not a domain/,
    ],
    [
      'a guest that has it now',
      'twin-gpus',
      { 'run/vfio-scripts/hand-over/win11/record': 'driver\n' },
      ['win11', '05:00'],
      /win11 has its devices now; shut it down, or: hand-over win11 --return --apply/,
    ],
  ]
  it.each(apply)('%s', (_, machine, files, args, says) => expectRefused(system(machine, files), args, says))

  it.each([
    [['--status', 'win11'], /--status looks at all guests/],
    [['win11', '--undo', '05:00'], /--undo is for a guest: leave the devices out/],
    [['win11', '--undo', '--stop', 'smbd'], /--undo takes no units/],
    [['--apply'], /no guest given/],
    [['win11', '05:00', '--rehearse', '--undo'], /choose one/],
    [['win11', '--return'], /--return is done to the running system/],
    [['win11', '05:00', '--rehearse'], /--rehearse is done to the running system/],
  ] as [string[], RegExp][])('%j', (args, says) => expectRan(handOver(system('twin-gpus'), ...args), 2, says))
})

describe('who has the card open decides what is stopped', () => {
  const card = '0000:05:00.0'
  it.each([
    [
      'a service',
      '0::/system.slice/ollama.service',
      /Xorg\[812\] of ollama\.service: \/dev\/dri\/card1.*2\. stop ollama\.service/s,
    ],
    [
      'a session, with the display manager that would hold it again',
      '0::/user.slice/user-1000.slice/session-2.scope',
      /2\. stop gdm\.service.*3\. end the sessions that have it open/s,
    ],
    [
      'an application of a desktop',
      '0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-mpv-7.scope',
      /end the sessions that have it open/,
    ],
    [
      'a service of a user',
      '0::/user.slice/user-1000.slice/user@1000.service/session.slice/wireplumber.service',
      /2\. stop wireplumber\.service of the users/,
    ],
    ['cgroup v1', '12:devices:/x\n1:name=systemd:/system.slice/ollama.service\n0::/', /2\. stop ollama\.service/],
    [
      'systemd-logind, which lets go with the session',
      '0::/system.slice/systemd-logind.service',
      /2\. wait until nobody has it open/,
    ],
  ])('%s', (_, group, says) => {
    const dir = system('twin-gpus')
    hold(dir, card, 'dri/card1', group)
    expectRan(handOver(dir, 'win11', '05:00'), 1, says)
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expect(textOf(dir, conf)).not.toMatch(/logind|init\.scope/)
  })

  it.each([
    ['a container', '0::/system.slice/docker-3f.scope', 'ollama'],
    ['another guest', '0::/machine.slice/machine-qemu\\x2d1\\x2dlinux.scope', 'qemu-system-x86'],
    ['a program of no unit', '0::/', 'mpv'],
  ])('%s cannot be started again: refused, unless it will be gone', (_, group, process) => {
    const dir = system('twin-gpus')
    hold(dir, card, 'dri/card1', group, process)
    expectRefused(dir, ['win11', '05:00'], /other-holder.*dri\/card1 is open in .*\[812\]/s)
    expectRan(handOver(dir, 'win11', '05:00', '--force', 'other-holder'), 1)
  })
})

describe('written, looked at, changed and taken back', () => {
  it('byte for byte', () => {
    const dir = system('twin-gpus')
    const before = snapshotOf(dir)
    const ran = handOver(dir, 'win11', '05:00', '--stop', 'smbd', ...write)
    expectRan(ran, 0, /systemctl daemon-reload|try-reload-or-restart|at each start and stop of win11/)
    expect(textOf(dir, conf)).toMatch(
      new RegExp(
        `^uuid ${uuid}\nfunction 0000:05:00.0 10de [0-9a-f]{4}\nfunction 0000:05:00.1 10de [0-9a-f]{4}\nstop smbd.service\n`,
        'm',
      ),
    )
    expect(textOf(dir, hook)).toMatch(/^#!\/bin\/sh/)
    expectRan(handOver(dir, '--status'), 0, /in-force.*win11.*the host has the devices of win11 now/s)
    expectRan(handOver(dir, 'win11', '05:00', '--stop', 'smbd'), 0, /Nothing to do/)
    expectRan(handOver(dir, '--undo', ...write), 0, /Taken back/)
    expect(
      snapshotOf(dir)
        .replace(/^\/var\/lib\/vfio-scripts.*\n?/gm, '')
        .replace(/^\/(var|var\/lib) .*\n/gm, ''),
    ).toBe(before.replace(/^\/(var|var\/lib) .*\n/gm, ''))
  })

  it('another run changes it, and keeps the devices', () => {
    const dir = system('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', '--stop', 'smbd', ...write), 0)
    expectRan(handOver(dir, 'win11', '--start', 'smbd', ...write), 0)
    expect(textOf(dir, conf)).toMatch(/function 0000:05:00\.0.*start smbd\.service/s)
    expect(textOf(dir, conf)).not.toContain('stop smbd')
    expectRan(handOver(dir, '--status'), 0, /in-force/)
    expectRan(handOver(dir, '--undo', ...write), 0)
    expect(textOf(dir, conf)).toBeNull()
    expect(textOf(dir, hook)).toBeNull()
  })

  it('of two guests one goes, and the other stays whole', () => {
    const other = domain('linux', hostdev('05'), 'c0ffee00-0000-4000-8000-000000000002')
    const dir = system('twin-gpus', { 'etc/libvirt/qemu/linux.xml': other })
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expectRan(handOver(dir, 'linux', '05:00', ...write), 0)
    expectRan(handOver(dir, 'nosuch', '--undo'), 2, /nosuch: not set up by hand-over; there is win11, linux/)
    expectRan(handOver(dir, 'win11', '--undo', ...write), 0)
    expect(textOf(dir, conf)).toBeNull()
    expect(textOf(dir, hook)).not.toBeNull()
    expectRan(handOver(dir, '--status'), 0, /in-force.*linux/s)
    expectRan(handOver(dir, '--undo', ...write), 0)
    expect(textOf(dir, hook)).toBeNull()
  })

  it('is not taken back while the guest has the card', () => {
    const dir = system('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    writeIn(dir, 'run/vfio-scripts/hand-over/win11/record', 'driver 0000:05:00.0 nouveau (null)\n')
    expectRan(handOver(dir, '--undo', '--apply'), 2, /win11 has its devices now/)
  })

  it('a file that somebody changed is told by --status', () => {
    const dir = system('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    writeIn(dir, hook, '#!/bin/sh\nexit 0\n')
    expectRan(handOver(dir, '--status'), 1, /drifted.*50-vfio-scripts-hand-over was changed/s)
  })

  it('bind-vfio, tune-host and their undo leave it alone', () => {
    const dir = system('twin-gpus')
    expectRan(handOver(dir, 'win11', '05:00', ...write), 0)
    expectRan(runScript('tune-host', ['--root', dir, '--undo', ...write]), 0, /nothing to take back/)
    expectRan(runScript('bind-vfio', ['--root', dir, '--undo', ...write]), 0, /nothing to take back/)
    expectRan(handOver(dir, '--status'), 0, /in-force/)
  })
})
