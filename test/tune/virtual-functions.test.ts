import { existsSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { BY_UDEV } from '../../lib/system/external-tools.ts'
import { bind, etcOf, expectRan, tune, write } from '../support/bind.ts'
import { genDomain } from '../support/domain.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { has, type Ran, runProgram, runScript } from '../support/run.ts'
import { snapshotOf } from '../support/system.ts'
import { host } from '../support/tune.ts'

const machine = { machine: 'sriov-nic' } as const
const script = 'etc/vfio-scripts/virtual-functions'
const NIC = 'sys/bus/pci/devices/0000:3b:00.0'
const ip = { 'usr/sbin/ip': '', 'usr/bin/systemctl': '' }
const lineOf = (dir: string): string =>
  (existsSync(join(dir, script)) ? readFileSync(join(dir, script), 'utf8') : '')
    .split('\n')
    .filter((line) => line.startsWith('#= '))
    .join('\n')

/** The server with the X710: it has four functions, and knows their offset and stride. */
function server(files: Record<string, string> = {}): string {
  const dir = host({ ...ip, ...files }, machine)
  writeFileSync(join(dir, NIC, 'sriov_offset'), '16\n')
  writeFileSync(join(dir, NIC, 'sriov_stride'), '1\n')
  return dir
}

/** Gives the card another driver, or none. */
function retie(dir: string, driver: string | null): void {
  rmSync(join(dir, NIC, 'driver'))
  if (driver !== null) symlinkSync(`../../../../bus/pci/drivers/${driver}`, join(dir, NIC, 'driver'))
  const uevent = readFileSync(join(dir, NIC, 'uevent'), 'utf8')
  writeFileSync(join(dir, NIC, 'uevent'), uevent.replace(/^DRIVER=.*\n/, driver === null ? '' : `DRIVER=${driver}\n`))
}

/** Has a guest hold the group's node open. */
function hold(dir: string, group: number): void {
  mkdirSync(join(dir, 'proc/4711/fd'), { recursive: true })
  mkdirSync(join(dir, 'sys/dev/char'), { recursive: true })
  symlinkSync(`/dev/vfio/${group}`, join(dir, 'proc/4711/fd/20'))
  symlinkSync(`../../devices/virtual/vfio/${group}`, join(dir, 'sys/dev/char/245:0'))
}

describe('tune-host --vfs', { concurrent: true }, () => {
  it('keeps bind-vfio from the card whose driver makes them', () => {
    const dir = server()
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
    const dir = server()
    const before = etcOf(dir)
    const plan = tune(dir, '--vfs', '3b:00.0=4')
    expectRan(plan, 1, /Predicted: 0000:3b:02\.0 to 0000:3b:02\.3/)
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(lineOf(dir)).toMatch(/^#= 0000:3b:00\.0 8086 1572 1028:1f9c \/sys\/devices\/\S+ 4 vfio-pci$/)
    expect(statSync(join(dir, script)).mode & 0o777).toBe(0o755)
    expect(readFileSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'), 'utf8')).toContain(
      'ACTION=="add|bind", SUBSYSTEM=="pci", KERNEL=="0000:3b:00.0", ENV{DRIVER}=="?*", RUN+="/usr/bin/systemctl --no-block start vfio-scripts-virtual-functions@0000:3b:00.0.service"',
    )
    expect(readFileSync(join(dir, 'etc/systemd/system/vfio-scripts-virtual-functions@.service'), 'utf8')).toContain(
      `ExecStart=/${script} %i`,
    )
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it.each([2, 64])('makes %i of them, each with a MAC address that stays', (count) => {
    const files = { [`${NIC}/net/ens1/address`]: '3c:fd:fe:00:00:01\n' }
    const of = (): string => {
      const dir = server(files)
      writeFileSync(join(dir, NIC, 'sriov_numvfs'), '0\n')
      expectRan(tune(dir, '--vfs', `3b:00.0=${count}`, ...write), 0)
      expect(new Set(lineOf(dir).match(/\d+:mac=\S+/g)).size).toBe(count)
      return lineOf(dir)
    }
    expect(of()).toBe(of())
  })

  it('gives what was asked to the functions, and the rest addresses of their own', () => {
    const dir = server({ [`${NIC}/net/ens1/address`]: '3c:fd:fe:00:00:01\n' })
    const words = ['--vf-mac', '0=52:54:00:AA:BB:CC', '--vf-vlan', '0=100', '--vf-trust', '1=on']
    expectRan(
      tune(dir, '--vfs', '3b:00.0=4', '--vfs-driver', 'host', ...words, '--vf-spoof-check', '0=off', ...write),
      0,
    )
    const [, own] = / 4 host (.*)$/.exec(lineOf(dir)) ?? []
    expect(own).toMatch(
      /^0:mac=52:54:00:aa:bb:cc 0:vlan=100 1:trust=on 0:spoofchk=off( [123]:mac=02(:[0-9a-f]{2}){5}){3}$/,
    )
    expect(new Set(own?.match(/mac=\S+/g)).size).toBe(4)
  })

  it('has one number for a card, and another card beside it', () => {
    const dir = server()
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expectRan(tune(dir, '--vfs', '3b:00.1=2', ...write), 0)
    writeFileSync(join(dir, NIC, 'sriov_numvfs'), '0\n')
    expectRan(tune(dir, '--vfs', '3b:00.0=8', ...write), 0, /the new value takes the place/)
    expect(lineOf(dir)).toMatch(/^#= 0000:3b:00\.1 .* 2 vfio-pci\n#= 0000:3b:00\.0 .* 8 vfio-pci$/)
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
      'a profile of NetworkManager that makes them',
      ['--vfs', '3b:00.0=4'],
      /ens1\.nmconnection:3: total-vfs=2: makes/,
      { 'etc/NetworkManager/system-connections/ens1.nmconnection': '[connection]\n[sriov]\ntotal-vfs=2\n' },
    ],
  ])('refuses %s', (_, args, says, files) => {
    const dir = server(files)
    const before = snapshotOf(dir)
    const ran = tune(dir, ...args, '--apply')
    expect(ran.stderr).toMatch(says)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(snapshotOf(dir)).toBe(before)
  })

  it.each<[string, string | null, RegExp]>([
    ['no driver', null, /has no driver, and only its driver makes virtual functions/],
    ['vfio-pci', 'vfio-pci', /is on vfio-pci, for a guest as a whole/],
  ])('refuses a card on %s', (_, driver, says) => {
    const dir = server()
    retie(dir, driver)
    expectRan(tune(dir, '--vfs', '3b:00.0=2'), 2, says)
  })

  it('goes from one number to another only when nothing uses a function', () => {
    const held = {
      'proc/4711/comm': 'qemu-system-x86\n',
      'sys/devices/virtual/vfio/32/uevent': 'DEVNAME=vfio/32\n',
    }
    const dir = server(held)
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

/** That server with systemd 252, whose udev has noted which .link file is in force for the card. */
function withLink(files: Record<string, string> = {}, link = '/usr/lib/systemd/network/99-default.link'): string {
  return server({
    'usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so': '',
    'usr/lib/systemd/network/99-default.link':
      '# Of the package.\n[Match]\nOriginalName=*\n\n[Link]\nNamePolicy=keep kernel database onboard slot path\nMACAddressPolicy=persistent\n',
    [`${NIC}/net/ens1/address`]: '3c:fd:fe:00:00:01\n',
    [`${NIC}/net/ens1/ifindex`]: '3\n',
    'run/udev/data/n3': `E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=${link}\n`,
    ...files,
  })
}
const LINK = 'etc/systemd/network/00-vfio-scripts-0000-3b-00.0.link'
const host2 = ['--vfs', '3b:00.0=2', '--vfs-driver', 'host', '--vf-vlan', '0=100', '--vf-trust', '1=on']

/** May this machine's systemd be shown other .link files than its own? */
const readable =
  ['udevadm', 'unshare', 'mount'].every((name) => has(name)) &&
  existsSync('/etc/systemd/network') &&
  Number(/^\d+/.exec(runProgram('udevadm', ['--version']).stdout)?.[0]) > 250 &&
  runProgram('unshare', ['-m', 'mount', '--bind', '/tmp', '/etc/systemd/network']).code === 0

describe('functions for the host, by a .link file', { concurrent: true }, () => {
  it('says for this card what the file in force says, and makes them in a drop-in; undo', () => {
    const dir = withLink()
    const before = etcOf(dir)
    expectRan(
      tune(dir, ...host2),
      1,
      /systemd-udevd makes them, by a \.link file for this card: it says what \/usr\/lib\/systemd\/network\/99-default\.link says/,
    )
    expectRan(tune(dir, ...host2, ...write), 0)
    expect(readFileSync(join(dir, LINK), 'utf8').replace(/^#.*\n/gm, '')).toBe(
      '[Match]\nPath=pci-0000:3b:00.0\n\n[Link]\nNamePolicy=keep kernel database onboard slot path\nMACAddressPolicy=persistent\n',
    )
    expect(readFileSync(join(dir, `${LINK}.d/virtual-functions.conf`), 'utf8').replace(/^#.*\n/gm, '')).toMatch(
      /^\[Link\]\nSR-IOVVirtualFunctions=2\n\[SR-IOV\]\nVirtualFunction=0\nVLANId=100\nMACAddress=02:\S+\n\[SR-IOV\]\nVirtualFunction=1\nTrust=on\nMACAddress=02:\S+\n$/,
    )
    const guest = ['--name', 'vm', '--guest', 'linux', '--vf', '3b:02.0', '--explain']
    expectRan(
      genDomain(dir, ...guest),
      0,
      /0000:3b:02\.0: an interface with MAC address 02:\S+, VLAN 100, as tune-host has it/,
    )
    // One mechanism: neither the unit nor its rule.
    expect(existsSync(join(dir, script))).toBe(false)
    expect(existsSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'))).toBe(false)
    expectRan(tune(dir, ...host2), 0)
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  needs('systemd 251 and a mount namespace', readable).it('systemd reads every line of it', () => {
    const dir = withLink()
    expectRan(tune(dir, ...host2, '--vf-mac', '0=52:54:00:12:34:56', '--vf-spoof-check', '1=off', ...write), 0)
    const folder = join(dir, 'etc/systemd/network')
    // Of a file that is not there, of a wrong key and of a wrong value it says so.
    const read = (): string => {
      const asked = `mount --bind '${folder}' /etc/systemd/network && udevadm test-builtin net_setup_link /sys/class/net/lo`
      return runProgram('unshare', ['-m', 'sh', '-c', asked], { env: { ...process.env, SYSTEMD_LOG_LEVEL: 'debug' } })
        .stderr
    }
    const said = read()
    expect(said).toMatch(/Parsed configuration file "\S*00-vfio-scripts/)
    expect(said).not.toMatch(/virtual-functions\.conf:\d+|\.link:\d+/)
    writeFileSync(join(dir, `${LINK}.d/virtual-functions.conf`), '[SR-IOV]\nVirtualFunction=0\nTrust=perhaps\n')
    expect(read()).toMatch(/virtual-functions\.conf:3: .*perhaps/)
  })

  it('is told to systemd-udevd at once, through 0, and what it did not make is an error', () => {
    const dir = scratchDir('by-udev')
    const [number, log] = [join(dir, 'numvfs'), join(dir, 'log')]
    writeFileSync(
      join(dir, 'udevadm'),
      `#!/bin/sh\necho "$(cat '${number}') $*" >>'${log}'\n[ "$1" != trigger ] || echo "$MAKES" >'${number}'\n`,
      { mode: 0o755 },
    )
    const apply = (now: string, makes: string): Ran => {
      writeFileSync(number, `${now}\n`)
      const env = { PATH: `${dir}:${process.env.PATH}`, MAKES: makes }
      return runProgram('sh', ['-c', BY_UDEV, 'sh', number, '2', '/sys/class/net/ens1'], { env })
    }
    expect(apply('4', '2')).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(log, 'utf8')).toBe('0 control --reload\n0 trigger --action=add --settle /sys/class/net/ens1\n')
    expect(apply('0', '1')).toMatchObject({
      code: 1,
      stderr: 'there are 1 virtual functions, not 2: journalctl -b -u systemd-udevd\n',
    })
  })

  it('keeps what a drop-in of the file in force says, and stays as it is once it is in force itself', () => {
    const dir = withLink({
      'etc/systemd/network/99-default.link.d/wol.conf': '[Match]\nType=ether\n[Link]\nWakeOnLan=magic\n',
    })
    expectRan(tune(dir, ...host2, ...write), 0)
    const text = readFileSync(join(dir, LINK), 'utf8')
    expect(text).toMatch(/MACAddressPolicy=persistent\n\n\[Link\]\nWakeOnLan=magic\n$/)
    expect(text).not.toMatch(/Type=ether/)
    writeFileSync(join(dir, 'run/udev/data/n3'), `E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=/${LINK}\n`)
    expectRan(tune(dir, ...host2), 0)
  })

  it('goes from one way to the other, and leaves nothing of the first', () => {
    const dir = withLink()
    writeFileSync(join(dir, NIC, 'sriov_numvfs'), '2\n')
    const before = etcOf(dir)
    const guests = ['--vfs', '3b:00.0=2', '--vfs-driver', 'vfio-pci']
    expectRan(tune(dir, ...guests, ...write), 0)
    expectRan(tune(dir, ...host2, ...write), 0)
    expect(lineOf(dir)).toBe('')
    expect(existsSync(join(dir, 'etc/udev/rules.d/99-vfio-scripts.rules'))).toBe(false)
    expectRan(tune(dir, ...guests, ...write), 0)
    expect(lineOf(dir)).toMatch(/ 2 vfio-pci /)
    expect(existsSync(join(dir, LINK)) || existsSync(join(dir, `${LINK}.d/virtual-functions.conf`))).toBe(false)
    expectRan(tune(dir, '--undo', 'vfs', ...write), 0)
    expect(etcOf(dir)).toBe(before)
  })

  it.each<[string, RegExp, Record<string, string | null>]>([
    [
      'an older systemd',
      /and no \.link file: systemd 249 is older than 251/,
      {
        'usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so': null,
        'usr/lib/systemd/libsystemd-shared-249.so': '',
      },
    ],
    [
      'a udev that has not noted it',
      /udev has not noted which \.link file is in force for ens1/,
      { 'run/udev/data/n3': 'E:ID_PATH=pci-0000:3b:00.0\n' },
    ],
    [
      'a file that comes first',
      /00-a\.link comes before any file of ours/,
      {
        'run/udev/data/n3': 'E:ID_PATH=pci-0000:3b:00.0\nE:ID_NET_LINK_FILE=/etc/systemd/network/00-a.link\n',
        'etc/systemd/network/00-a.link': '[Match]\nPath=*\n[Link]\n',
      },
    ],
  ])('has a unit make them with %s', (_, says, files) => {
    const dir = withLink(files as Record<string, string>)
    expectRan(tune(dir, ...host2, ...write), 0, says)
    expect(existsSync(join(dir, script))).toBe(true)
    expect(existsSync(join(dir, LINK))).toBe(false)
  })

  it('never for functions of guests: a host driver would have them first', () => {
    const dir = withLink()
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(existsSync(join(dir, LINK))).toBe(false)
  })

  it('sees a drop-in that makes them already', () => {
    const dir = withLink({ 'etc/systemd/network/99-default.link.d/vf.conf': '[Link]\nSR-IOVVirtualFunctions=2\n' })
    expectRan(
      tune(dir, ...host2),
      2,
      /99-default\.link\.d\/vf\.conf:2: SR-IOVVirtualFunctions=2: makes virtual functions/,
    )
  })
})

describe('where something else makes them, it says how that is told', () => {
  const mac = { [`${NIC}/net/ens1/address`]: '3c:fd:fe:00:00:01\n' }
  const words = [
    '--vf-mac',
    '0=52:54:00:12:34:56',
    '--vf-vlan',
    '0=100',
    '--vf-trust',
    '1=on',
    '--vf-spoof-check',
    '1=off',
  ]

  it('a .link file', () => {
    const link = '[Match]\nDriver=i40e\n\n[Link]\nSR-IOVVirtualFunctions=1\n'
    expectRan(
      tune(server({ ...mac, 'etc/systemd/network/10-sriov.link': link }), '--vfs', '3b:00.0=2', ...words),
      2,
      /there, instead of what it says of SR-IOV: \[Link\] · SR-IOVVirtualFunctions=2 · \[SR-IOV\] · VirtualFunction=0 · MACAddress=52:54:00:12:34:56 · VLANId=100 · \[SR-IOV\] · VirtualFunction=1 · Trust=on · MACSpoofCheck=off · MACAddress=02:/,
    )
  })

  const profile =
    '[connection]\nid=lan\nuuid=1a2b3c4d-0000-4000-8000-000000000001\ntype=ethernet\ninterface-name=ens1\n\n[sriov]\ntotal-vfs=1\n'
  const told = (): string => {
    const files = { ...mac, 'etc/NetworkManager/system-connections/lan.nmconnection': profile }
    const { stderr } = tune(server(files), '--vfs', '3b:00.0=2', ...words)
    return /there: (nmcli connection modify .*)/.exec(stderr)?.[1] ?? stderr
  }
  it('a profile of NetworkManager', () => {
    expect(told()).toMatch(
      /^nmcli connection modify '1a2b3c4d-0000-4000-8000-000000000001' sriov\.total-vfs 2 sriov\.autoprobe-drivers false sriov\.vfs '0 mac=52:54:00:12:34:56 vlans=100, 1 trust=true spoof-check=false mac=02:\S+'$/,
    )
  })

  needs('nmcli').it('a profile of NetworkManager, which takes it', () => {
    const file = join(scratchDir('profile'), 'lan.nmconnection')
    writeFileSync(file, profile)
    const command = told().replace(/^nmcli connection modify '\S+'/, 'nmcli --offline connection modify')
    const ran = runProgram('sh', ['-c', `${command} <'${file}'`])
    expect(ran.code, ran.stderr).toBe(0)
    expect(ran.stdout).toMatch(
      /^autoprobe-drivers=(0|false)\ntotal-vfs=2\nvf\.0=mac=52:54:00:12:34:56 vlans=100\nvf\.1=/m,
    )
  })
})

it('a .link file, a profile or a script for another card is none of this one', () => {
  const dir = server({
    'etc/systemd/network/10-other.link': '[Match]\nMACAddress=00:11:22:33:44:55\n\n[Link]\nSR-IOVVirtualFunctions=2\n',
    'etc/NetworkManager/system-connections/o.nmconnection': '[connection]\ninterface-name=eno1\n[sriov]\ntotal-vfs=2\n',
    'etc/rc.local': '#!/bin/sh\necho 2 >/sys/bus/pci/devices/0000:5e:00.0/sriov_numvfs\n',
  })
  expectRan(tune(dir, '--vfs', '3b:00.0=4'), 1)
})

describe('check-host', () => {
  const asked = (dir: string): string => runScript('check-host', ['--root', dir, '--all']).stdout
  it('names functions that nothing makes at boot, and is content when something does', () => {
    const dir = server()
    expect(asked(dir)).toMatch(
      /0000:3b:00\.0 has 4 virtual functions, and nothing that is known here makes them at boot/,
    )
    expect(asked(server({ 'etc/rc.local': 'echo 4 >/sys/bus/pci/devices/0000:3b:00.0/sriov_numvfs\n' }))).toMatch(
      /0000:3b:00\.0 has 4 virtual functions, and files that may make them at boot/,
    )
    expectRan(tune(dir, '--vfs', '3b:00.0=4', ...write), 0)
    expect(asked(dir)).toMatch(/0000:3b:00\.0 has 4 virtual functions, made at every boot by tune-host/)
    expect(asked(dir)).toMatch(/0000:3b:00\.1 has 2 virtual functions, and nothing/)
    // NVIDIA's driver makes them with a program of its own.
    expect(asked(dir)).toMatch(/0000:af:00\.0 has 3.*?→[^\n]*sriov-manage/s)
  })
})
