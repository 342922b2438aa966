import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, tune, write } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { type Ran, runProgram } from '../support/run.ts'
import { snapshotOf, writeIn } from '../support/system.ts'
import { host } from '../support/tune.ts'

// What is named has to be there, and what is made must not be there yet.

const ALTFILES = {
  'etc/nsswitch.conf': 'passwd: files altfiles systemd\ngroup: files [SUCCESS=merge] altfiles systemd\n',
}
const NET = { 'sys/class/net/lo/address': '00:00:00:00:00:00\n' }
const tap = ['--tap', 'tap0', '--user', 'ann']

function refused(files: Record<string, string>, args: readonly string[], says: RegExp): void {
  const dir = host(files)
  const before = snapshotOf(join(dir, 'etc'))
  expectRan(tune(dir, ...args, '--apply'), 2, says)
  expect(snapshotOf(join(dir, 'etc'))).toBe(before)
}

describe('groups and users', { concurrent: true }, () => {
  const alt = { ...ALTFILES, 'etc/group': 'root:x:0:\n', 'usr/lib/group': 'kvm:x:36:qemu\n' }

  it('of an image that has them in /usr/lib', () => {
    const ran = tune(host(alt), '--vfio-group', 'kvm')
    expectRan(ran, 1, /GROUP="kvm"/)
    expect(ran.stdout).toContain('first, getent group kvm >> /etc/group')
    refused({ 'etc/group': 'root:x:0:\n', 'usr/lib/group': 'kvm:x:36:\n' }, ['--vfio-group', 'kvm'], /no such group/)
    expectRan(tune(host({ ...alt, 'etc/passwd': 'x:x:1::::\n', 'usr/lib/passwd': 'ann:x:1000:::/:\n' }), ...tap), 1)
  })

  it('that systemd’s user database has, or a directory service may have', () => {
    expectRan(tune(host({ 'etc/group': 'root:x:0:\n', 'etc/userdb/kvm.group': '{}' }), '--vfio-group', 'kvm'), 1)
    const directory = { 'etc/nsswitch.conf': 'passwd: files sss\n', 'etc/passwd': 'root:x:0:0::/:\n' }
    expectRan(tune(host(directory), ...tap), 1)
  })

  it('that are nowhere', () => {
    refused({ 'etc/passwd': 'root:x:0:0::/:\nannie:x:1:1::/:\n' }, tap, /--user ann: there is no such user/)
    refused({ ...ALTFILES, 'etc/group': 'root:x:0:\n' }, ['--disk', '/dev/disk/by-id/x'], /kvm: there is no such group/)
  })

  // The judge: what NSS says of this machine's own names.
  needs('getent').it('of this machine, as getent knows them', () => {
    const exists = (database: string, name: string): boolean => runProgram('getent', [database, name]).code === 0
    const known = (name: string): Ran => tune('/', '--vfio-group', name)
    for (const name of ['root', 'no-such-group-here'])
      expect(/no such group/.test(known(name).stderr)).toBe(!exists('group', name))
  })
})

describe('interfaces', { concurrent: true }, () => {
  it('a TAP device whose name is taken', () => {
    refused({ 'sys/class/net/tap0/tun_flags': '0x1\n' }, tap, /--tap tap0: there is an interface of this name already/)
  })

  it('a TAP device that is ours: again, of somebody else, at another bridge', () => {
    const dir = host({ 'etc/passwd': 'ann:x:1:1::/:\nbob:x:2:2::/:\n', 'sys/class/net/br0/bridge/x': '' })
    expectRan(tune(dir, ...tap, ...write), 0)
    writeIn(dir, 'sys/class/net/tap0/tun_flags', '0x1002\n')
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...tap), 0, /Nothing to do/)
    expectRan(tune(dir, '--tap', 'tap0', '--user', 'bob', ...write), 2, /set up already, otherwise \(ann may attach/)
    expectRan(tune(dir, ...tap, '--tap-bridge', 'br0', ...write), 2, /take that back first \(--undo tap --apply\)/)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(dir, '--tap', 'tap1', '--user', 'bob'), 1)
  })

  it.each([
    ['--libvirt-network', ['--libvirt-network', 'br0']],
    ['--tap-bridge', [...tap, '--tap-bridge', 'br0']],
  ])('%s of no bridge', (_, args) => {
    refused(NET, args, /refused \(no-bridge\): There is no bridge br0.*make it first \(--bridge br0 --port CARD\)/s)
    refused({ 'sys/class/net/br0/address': '\n' }, args, /br0 is no bridge of the kernel.*Open vSwitch/s)
    expectRan(tune(host(NET), ...args, '--force', 'no-bridge'), 1)
    expectRan(tune(host({ 'sys/class/net/br0/bridge/stp_state': '0' }), ...args), 1)
    expectRan(tune(host(), ...args), 1, /It is not known whether br0 is a bridge/)
    const wired = { 'etc/systemd/network/20.network': '[Match]\nName=enp5s0\n[Network]\nDHCP=yes\n' }
    const card = { ...NET, ...wired, 'sys/class/net/enp5s0/address': '52:54:00:12:34:56\n' }
    const bridge = ['--bridge', 'br0', '--port', 'enp5s0']
    const dir = host(card)
    expectRan(tune(dir, ...bridge, ...args), 1)
    expectRan(tune(dir, ...bridge, ...write), 0)
    expectRan(tune(dir, ...args), 1)
  })

  it('a network that libvirt has already', () => {
    const there = { 'sys/class/net/br0/bridge/x': '', 'etc/libvirt/qemu/networks/br0.xml': '<network/>' }
    refused(there, ['--libvirt-network', 'br0'], /libvirt has a network of this name already/)
  })
})

describe('--slices is refused where systemd would do nothing', { concurrent: true }, () => {
  const args = ['--isolate', '3', '--slices']
  it.each<[string, Record<string, string>, RegExp]>([
    ['control groups of version 1', { 'sys/fs/cgroup/cpuset/tasks': '' }, /\/sys\/fs\/cgroup is of version 1/],
    ['both versions', { 'sys/fs/cgroup/unified/cgroup.controllers': 'cpuset' }, /\/sys\/fs\/cgroup is of version 1/],
    ['no such controller', { 'sys/fs/cgroup/cgroup.controllers': 'cpu io\n' }, /cgroup\.controllers has no cpuset/],
    [
      'version 1 from the next boot on',
      { 'etc/default/grub': 'GRUB_CMDLINE_LINUX="systemd.unified_cgroup_hierarchy=0"\n' },
      /grub:1: systemd\.unified_cgroup_hierarchy=0/,
    ],
  ])('%s', (_, files, says) => {
    const dir = host(files)
    expectRan(tune(dir, ...args, '--apply'), 2, says)
  })

  it('and not elsewhere', () => {
    expectRan(tune(host({ 'sys/fs/cgroup/cgroup.controllers': 'cpuset cpu\n' }), ...args), 1)
  })
})
