import { describe, expect, it } from 'vitest'
import {
  addBlock,
  addConnection,
  addFiles,
  addInterface,
  addLinks,
  addMount,
  addNvme,
  addProcess,
  addRoute,
  folderOf,
  memory,
} from '../support/fake/host.ts'
import { idle, judge, NIC, NVME } from '../support/judge.ts'
import type { Machine } from '../support/machine.ts'

describe('network', () => {
  const stacked = (machine: Machine): void => {
    idle(machine)
    addInterface(machine, 'eth0', { address: NIC })
    addInterface(machine, 'eth0.7', { over: ['eth0'] })
    addInterface(machine, 'bond0', { over: ['eth0.7'] })
    addInterface(machine, 'br0', { over: ['bond0'] })
    addInterface(machine, 'eth1', { address: '0000:04:00.0' })
    addRoute(machine, '0.0.0.0/0', 'br0')
    addRoute(machine, '192.168.1.0/24', 'br0')
    addRoute(machine, '10.0.0.0/8', 'eth1')
  }

  it('network: the default route, through a bridge over a bond over a VLAN', () => {
    const { state } = judge('twin-gpus', ['03:00.0'], stacked)
    expect(state('network')).toEqual([
      'problem',
      ['0000:03:00.0 → eth0 → eth0.7 → bond0 → br0 has the default route (IPv4, metric 100)'],
    ])
    expect(state('interface-up')).toEqual([
      'problem',
      ['0000:03:00.0 → eth0 → eth0.7 → bond0 → br0 has a route to default'],
    ])
  })

  it('network: the other card has a route, but not the default one', () => {
    const { state } = judge('twin-gpus', ['04:00.0'], stacked)
    expect(state('network')).toEqual(['ok', []])
    expect(state('interface-up')).toEqual(['problem', ['0000:04:00.0 → eth1 has a route to 10.0.0.0/8']])
  })

  it('interface-up: a macvtap or a bridge of guests, of which the host has no address', () => {
    const under = (upper: string, up: boolean): unknown =>
      judge('twin-gpus', ['03:00.0'], (machine) => {
        idle(machine)
        addInterface(machine, 'eth0', { address: NIC, up })
        addInterface(machine, upper, { over: ['eth0'] })
      }).state('interface-up')
    for (const upper of ['macvtap0', 'br1'])
      expect(under(upper, true)).toEqual(['problem', [`0000:03:00.0 → eth0 → ${upper} is built on it`]])
    expect(under('macvtap0', false)).toEqual(['ok', []])
  })

  it('network: IPv6 only, and Open vSwitch', () => {
    const six = judge('twin-gpus', ['03:00.0'], (machine) => {
      idle(machine)
      addInterface(machine, 'eth0', { address: NIC })
      const none = '0'.repeat(32)
      addFiles(machine, {
        '/proc/net/ipv6_route': `${none} 00 ${none} 00 fe80000000000000000000000000000${1} 00000400 00000001 00000000 00000003     eth0\n${none} 00 ${none} 00 ${none} ffffffff 00000001 00000000 00200200       lo\n`,
      })
    })
    expect(six.state('network')).toEqual(['problem', ['0000:03:00.0 → eth0 has the default route (IPv6, metric 1024)']])
    const ovs = judge('twin-gpus', ['03:00.0'], (machine) => {
      idle(machine)
      addInterface(machine, 'eth0', { address: NIC })
      addInterface(machine, 'ovs-system', { over: ['eth0'] })
      addInterface(machine, 'br-ex', {})
      addRoute(machine, '0.0.0.0/0', 'br-ex')
    })
    expect(ovs.state('network')[1]).toEqual([
      '0000:03:00.0 → eth0 → ovs-system → br-ex has the default route (IPv4, metric 100)',
    ])
  })

  it('ssh: a socket of sshd behind an IPv4-mapped address, by the most specific route', () => {
    const session = (machine: Machine): void => {
      stacked(machine)
      const mapped = `0000000000000000FFFF0000${memory('10.1.2.3')}:D431`
      addConnection(machine, 'tcp6', [`0000000000000000FFFF0000${memory('10.0.0.9')}:0016`, mapped], 4711)
      addConnection(machine, 'tcp', [`${memory('127.0.0.1')}:0016`, `${memory('127.0.0.1')}:D432`], 4712)
      addProcess(machine, 700, 'sshd-session', ['/dev/null', 'socket:[4711]', 'socket:[4712]'])
    }
    expect(judge('twin-gpus', ['04:00.0'], session).state('ssh')).toEqual([
      'problem',
      ['0000:04:00.0 → eth1 leads to 10.1.2.3 (sshd-session[700])'],
    ])
    expect(judge('twin-gpus', ['03:00.0'], session).state('ssh')).toEqual(['ok', []])
  })

  it('ssh: a link-local IPv6 peer, by the interface of the local address', () => {
    const { state } = judge('twin-gpus', ['04:00.0'], (machine) => {
      stacked(machine)
      const words = (last: string): string => `000080FE0000000000000000${last}`
      addConnection(machine, 'tcp6', [`${words('05000000')}:0016`, `${words('07000000')}:D431`], 4711)
      addFiles(machine, { '/proc/net/if_inet6': `fe80${'0'.repeat(20)}00000005 03 40 20 80     eth1\n` })
      addProcess(machine, 700, 'sshd', ['socket:[4711]'])
    })
    expect(state('ssh')).toEqual(['problem', ['0000:04:00.0 → eth1 leads to fe80::7 (sshd[700])']])
  })
})

describe('storage', () => {
  it('storage: a mounted partition, swap, and where the loader came from', () => {
    const { state } = judge('twin-gpus', ['02:00.0'], (machine) => {
      idle(machine)
      addNvme(machine, NVME, [{ udev: { ID_PART_ENTRY_UUID: 'aa-01' } }, {}, { udev: { ID_FS_TYPE: 'swap' } }])
      addMount(machine, '259:1', '/boot/efi', 'vfat', '/dev/nvme0n1p1')
      addMount(machine, '259:2', '/var/lib/My\\040Images', 'ext4', '/dev/nvme0n1p2')
      addMount(machine, '259:2', '/srv', 'ext4', '/dev/nvme0n1p2')
      addFiles(machine, {
        '/proc/swaps': 'Filename\tType\tSize\tUsed\tPriority\n/dev/nvme0n1p3 partition 8 0 -2\n/swapfile file 8 0 -3\n',
        '/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f': `\u0006\0\0\0${[...'AA-01'].join('\0')}\0\0\0`,
      })
    })
    expect(state('storage')).toEqual([
      'problem',
      [
        '0000:02:00.0 → /dev/nvme0n1p1 is mounted on /boot/efi',
        "0000:02:00.0 → /dev/nvme0n1p1 is where this boot's loader came from",
        '0000:02:00.0 → /dev/nvme0n1p2 is mounted on /srv, /var/lib/My Images',
        '0000:02:00.0 → /dev/nvme0n1p3 is swap',
      ],
    ])
  })

  it('storage: LUKS on LVM', () => {
    const { state } = judge('twin-gpus', ['02:00.0'], (machine) => {
      idle(machine)
      addNvme(machine, NVME, [{ udev: { ID_FS_TYPE: 'LVM2_member' }, holders: ['dm-0', 'dm-2'] }])
      addBlock(machine, 'dm-0', {
        number: '253:0',
        udev: { ID_FS_TYPE: 'crypto_LUKS' },
        dm: { name: 'vg-root', uuid: 'LVM-abc' },
        holders: ['dm-1'],
      })
      addBlock(machine, 'dm-1', {
        number: '253:1',
        udev: {},
        dm: { name: 'cryptroot', uuid: 'CRYPT-LUKS2-abc-cryptroot' },
      })
      addBlock(machine, 'dm-2', { number: '253:2', udev: {}, dm: { name: 'vg-spare', uuid: 'LVM-abd' } })
      addMount(machine, '253:1', '/', 'ext4', '/dev/mapper/cryptroot')
    })
    expect(state('storage')[1]).toEqual([
      '0000:02:00.0 → /dev/nvme0n1p1 → LVM /dev/mapper/vg-root → LUKS /dev/mapper/cryptroot is mounted on /',
      '0000:02:00.0 → /dev/nvme0n1p1 → LVM /dev/mapper/vg-spare is active',
    ])
  })

  it('storage: RAID, btrfs over two volumes, bcache', () => {
    const { state } = judge('twin-gpus', ['02:00.0'], (machine) => {
      idle(machine)
      addNvme(machine, NVME, [
        { udev: { ID_FS_TYPE: 'linux_raid_member' }, holders: ['md127'] },
        { udev: { ID_FS_TYPE: 'btrfs' } },
        { udev: { ID_FS_TYPE: 'bcache' }, holders: ['bcache0'] },
      ])
      addBlock(machine, 'md127', { number: '9:127', udev: {} })
      addBlock(machine, 'bcache0', { number: '252:0', udev: {} })
      addMount(machine, '9:127', '/srv', 'xfs', '/dev/md127')
      addMount(machine, '0:31', '/home', 'btrfs', '/dev/sdb1')
      addFiles(machine, { '/sys/fs/btrfs/ab/devices/sdb1': '', '/sys/fs/btrfs/ab/devices/nvme0n1p2': '' })
    })
    expect(state('storage')[1]).toEqual([
      '0000:02:00.0 → /dev/nvme0n1p1 → RAID /dev/md127 is mounted on /srv',
      '0000:02:00.0 → /dev/nvme0n1p2 is mounted on /home',
      '0000:02:00.0 → /dev/nvme0n1p3 → bcache /dev/bcache0 is active',
    ])
  })

  it('storage: a ZFS pool, members that rest, and what fstab and crypttab name', () => {
    const { state } = judge('twin-gpus', ['02:00.0'], (machine) => {
      idle(machine)
      addNvme(machine, NVME, [
        { udev: { ID_FS_TYPE: 'zfs_member', ID_FS_LABEL: 'rpool' } },
        { udev: { ID_FS_TYPE: 'zfs_member', ID_FS_LABEL: 'tank' } },
        { udev: { ID_FS_TYPE: 'ext4', ID_FS_UUID: '1234-abcd' } },
        { udev: { ID_FS_TYPE: 'crypto_LUKS', ID_FS_UUID: '77' } },
        { udev: { ID_FS_TYPE: 'ntfs' } },
      ])
      addMount(machine, '0:29', '/var', 'zfs', 'rpool/var')
      addFiles(machine, {
        '/etc/fstab': '# made by hand\nUUID=1234-ABCD /backup ext4 noauto,nofail 0 2\n',
        '/etc/crypttab': 'vault /dev/disk/by-uuid/77 none luks,noauto\n',
      })
    })
    expect(state('storage')[1]).toEqual([
      '0000:02:00.0 → /dev/nvme0n1p1 is mounted on /var',
      '0000:02:00.0 → /dev/nvme0n1p2 is a member of a ZFS pool (tank), not in use now',
      '0000:02:00.0 → /dev/nvme0n1p3 is /backup in /etc/fstab',
      '0000:02:00.0 → /dev/nvme0n1p4 is opened as vault in /etc/crypttab',
    ])
  })

  it('storage: native NVMe multipath, where the disk is below a virtual subsystem', () => {
    const { state } = judge('twin-gpus', ['02:00.0'], (machine) => {
      idle(machine)
      addNvme(machine, NVME, [])
      const subsystem = '/sys/devices/virtual/nvme-subsystem/nvme-subsys0'
      addBlock(machine, 'nvme0n1', { under: subsystem, number: '259:0', udev: {} })
      addLinks(machine, { [`${subsystem}/nvme0`]: `${folderOf(machine, NVME)}/nvme/nvme0` })
      addMount(machine, '259:0', '/data', 'ext4', '/dev/nvme0n1')
    })
    expect(state('storage')).toEqual(['problem', ['0000:02:00.0 → /dev/nvme0n1 is mounted on /data']])
  })

  it('storage: a drive of another system is free; without udev that is not known', () => {
    const windows = (machine: Machine): void => {
      idle(machine)
      addNvme(machine, NVME, [{ udev: { ID_FS_TYPE: 'vfat' } }, { udev: { ID_FS_TYPE: 'ntfs' } }])
    }
    expect(judge('twin-gpus', ['02:00.0'], windows).problems).toEqual([])
    const { of } = judge('twin-gpus', ['02:00.0'], (machine) => {
      windows(machine)
      delete machine.files?.['/run/udev/data/b259:2']
    })
    expect(of('storage')).toMatchObject({
      state: 'unknown',
      evidence: ["not seen: what is on /dev/nvme0n1p2 (udev's database)"],
    })
  })
})
