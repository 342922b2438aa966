// A card handed over to a guest while the host runs: the plan, and what is refused.
import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { conf, desktopDir, domain, expectRefused, handOver, hold, hostdev, write } from '../support/hand-over.ts'
import { snapshotOf, textOf } from '../support/system.ts'

describe('the plan', () => {
  it('names the functions, who starts and stops what, and writes nothing', () => {
    const dir = desktopDir('twin-gpus')
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
    const ran = handOver(desktopDir('x570-navi10', files), 'win11', '0b:00', '--stop', 'smbd')
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
    const dir = desktopDir('x570-navi10', { 'proc/net/tcp': `  sl  local_address\n${sockets}` })
    expectRan(handOver(dir, 'win11', '0b:00'), 1, says)
  })

  it('takes the devices of the guest where none are named', () => {
    expectRan(handOver(desktopDir('twin-gpus'), 'win11'), 1, /05:00\.0.*05:00\.1/s)
  })

  it('says that the guest has no such device yet', () => {
    const files = { 'etc/libvirt/qemu/win11.xml': domain('win11') }
    expectRan(
      handOver(desktopDir('twin-gpus', files), 'win11', '05:00'),
      1,
      /win11 has no 0000:05:00\.0, 0000:05:00\.1 yet/,
    )
    const both = { 'etc/libvirt/qemu/win11.xml': domain('win11', hostdev('05') + hostdev('05', '1')) }
    expect(handOver(desktopDir('twin-gpus', both), 'win11', '05:00').stdout).not.toMatch(/yet/)
  })

  it('warns of what names a card by its number', () => {
    const files = { 'etc/X11/xorg.conf.d/20-gpu.conf': 'Section "Device"\n  Option "kmsdev" "/dev/dri/card1"\n' }
    expectRan(handOver(desktopDir('twin-gpus', files), 'win11', '05:00'), 1, /20-gpu\.conf:2: .*by-path/)
  })

  it('without libvirt there is no hook of libvirt', () => {
    const dir = desktopDir('twin-gpus', { 'etc/libvirt/qemu/win11.xml': null })
    const ran = handOver(dir, 'win11', '05:00')
    expectRan(ran, 1, /libvirt has no part in it/)
    expect(ran.stdout).not.toContain('/etc/libvirt')
  })
})

describe('what is refused, with nothing written', () => {
  const apply: [string, string, Record<string, string | null>, string[], RegExp][] = [
    [
      'a system that its updates replace',
      'twin-gpus',
      { 'usr/bin/midclt': '' },
      ['win11', '05:00'],
      /TrueNAS is not set up here: its updates replace .*; nothing was written/,
    ],
    [
      'an unknown guest',
      'twin-gpus',
      {},
      ['win10', '05:00'],
      /win10: libvirt has no guest of this name; there is win11/,
    ],
    [
      'a name that no unit can have',
      'twin-gpus',
      {},
      ['my guest', '05:00'],
      /my guest: the name of a guest has letters/,
    ],
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
  it.each(apply)('%s', (_, machine, files, args, says) => expectRefused(desktopDir(machine, files), args, says))

  it.each([
    [['--status', 'win11'], /--status looks at all guests/],
    [['win11', '--undo', '05:00'], /--undo is for a guest: leave the devices out/],
    [['win11', '--undo', '--stop', 'smbd'], /--undo takes no units/],
    [['--apply'], /no guest given/],
    [['win11', '05:00', '--rehearse', '--undo'], /choose one/],
    [['win11', '--return'], /--return is done to the running system/],
    [['win11', '05:00', '--rehearse'], /--rehearse is done to the running system/],
  ] as [string[], RegExp][])('%j', (args, says) => expectRan(handOver(desktopDir('twin-gpus'), ...args), 2, says))
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
    const dir = desktopDir('twin-gpus')
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
    const dir = desktopDir('twin-gpus')
    hold(dir, card, 'dri/card1', group, process)
    expectRefused(dir, ['win11', '05:00'], /other-holder.*dri\/card1 is open in .*\[812\]/s)
    expectRan(handOver(dir, 'win11', '05:00', '--force', 'other-holder'), 1)
  })
})
