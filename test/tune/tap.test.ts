import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, expectRefused, system, tune, write } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import {
  IFUP,
  interfaces,
  NETIFRC,
  NETPLAN,
  NETWORKD,
  NM,
  net,
  startServices,
  stopServices,
  yaml,
} from '../support/networks.ts'
import { runProgram } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

// A TAP device for a user, by each program that sets networks up: read back by the real ones where Debian has them.

const tap = ['--tap', 'tap0', '--user', 'ann', '--tap-bridge', 'br0']
const PASSWD = { 'etc/passwd': 'root:x:0:0::/root:/bin/sh\nann:x:1007:1007::/home/ann:/bin/sh\n' }
const IF = { ...IFUP, 'etc/network/interfaces': interfaces }
const CONNECTION = 'etc/NetworkManager/system-connections/vfio-scripts-tap0.nmconnection'
const host = (files: Readonly<Record<string, string>>): string => systemDir({ ...system, files })

const HOSTS: [name: string, files: Record<string, string>, file: string][] = [
  ['systemd-networkd', { ...NETWORKD, ...IF }, 'etc/systemd/network/50-vfio-scripts-tap0.netdev'],
  ['NetworkManager', { ...NM, ...IF, ...PASSWD }, CONNECTION],
  ['ifupdown', IF, 'etc/network/interfaces.d/vfio-scripts-tap0'],
  // The bridge is the one of ifupdown, whatever else runs.
  [
    'ifupdown',
    { ...NM, ...IF, 'etc/network/interfaces': `${interfaces}iface br0 inet manual\n` },
    'etc/network/interfaces.d/vfio-scripts-tap0',
  ],
  ['netifrc', { ...NETIFRC, 'etc/conf.d/net': net }, 'etc/conf.d/net'],
  // It has no TAP devices: what it writes for has.
  ['netplan', { ...NETPLAN, 'etc/netplan/1.yaml': yaml }, 'etc/systemd/network/50-vfio-scripts-tap0.netdev'],
  ['netplan', { ...NETPLAN, ...PASSWD, 'etc/netplan/1.yaml': yaml.replace('networkd', 'NetworkManager') }, CONNECTION],
]

describe('a TAP device', { concurrent: true }, () => {
  it.each(HOSTS)('by %s: planned, applied once, taken back byte for byte', (name, files, file) => {
    const dir = host(files)
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...tap), 1, new RegExp(`/${file}`))
    const atOnce = file.endsWith('.netdev')
    expect(JSON.parse(tune(dir, ...tap, '--json').stdout)).toMatchObject({ rebootNeeded: !atOnce })
    expectRan(tune(dir, ...tap, ...write), 0)
    expect(textOf(dir, file)).toContain('tap0')
    if (name === 'netifrc') startServices(dir, 'tap0')
    expectRan(tune(dir, ...tap), 0, /Nothing to do/)
    expectRan(tune(dir, '--undo', 'tap', ...write), 0)
    if (name === 'netifrc') stopServices(dir, 'tap0')
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  needs('nmcli').it('NetworkManager: its own program reads the profile', () => {
    const dir = host(HOSTS[1]?.[1] ?? {})
    const read = (...args: string[]): string => {
      tune(dir, ...args, ...write)
      const script = `nmcli --offline connection modify connection.id x <'${join(dir, CONNECTION)}'`
      const ran = runProgram('sh', ['-c', script])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(ran.stdout).toContain('[tun]\nmode=2\nowner=1007\n')
      return ran.stdout
    }
    expect(read(...tap)).toMatch(/type=tun\n[\s\S]*interface-name=tap0\n(master|controller)=br0/)
    tune(dir, '--undo', ...write)
    expect(read(...tap.slice(0, 4)).match(/method=disabled/g)).toHaveLength(2)
    expect(runProgram('stat', ['-c', '%a', join(dir, CONNECTION)]).stdout).toBe('600\n')
  })

  needs('ifup').it('ifupdown: what the real ifup and ifdown would run', () => {
    const dir = host(IF)
    tune(dir, ...tap, ...write)
    const file = join(dir, 'etc/network/interfaces.d/vfio-scripts-tap0')
    const ran = runProgram('sh', [
      '-c',
      `ifup -n -v --force -i '${file}' -a 2>&1; ifdown -n -v --force -i '${file}' tap0 2>&1`,
    ])
    const lines = ran.stdout.split('\n').filter((line) => /^ip .*tap0/.test(line) && !line.endsWith('|| true'))
    expect(lines).toEqual([
      'ip tuntap add dev tap0 mode tap user ann',
      'ip link set dev tap0 master br0',
      'ip link set dev tap0 up',
      'ip tuntap del dev tap0 mode tap',
    ])
  })

  needs('bash').it('netifrc: variables as bash reads them, and the services', () => {
    const dir = host(HOSTS[4]?.[1] ?? {})
    expectRan(
      tune(dir, ...tap, ...write),
      0,
      /ln -s net\.lo \/etc\/init\.d\/net\.tap0\n.*rc-update add net\.tap0 default/,
    )
    const show = `. '${join(dir, 'etc/conf.d/net')}'; echo "$tuntap_tap0|$iproute2_tap0|$config_tap0|$bridge_add_tap0|$rc_net_tap0_need"`
    expect(runProgram('bash', ['-c', show]).stdout).toBe('tap|user ann|null|br0|net.br0\n')
  })

  needs('netplan').it('netplan: the real one has none, and its files stay as they are', () => {
    const root = scratchDir('netplan')
    mkdirSync(join(root, 'etc/netplan'), { recursive: true })
    const file = join(root, 'etc/netplan/1.yaml')
    runProgram('sh', ['-c', `printf 'network:\\n  tunnels:\\n    tap0:\\n      mode: tap\\n' >'${file}'`])
    expect(runProgram('netplan', ['generate', '--root-dir', root]).stderr).toMatch(/'tap' is not supported/)
  })

  it.each<[string, string[], RegExp, Record<string, string>]>([
    ['a user that NetworkManager cannot be told of', tap, /no-user|\/etc\/passwd has no such user/, NM],
    [
      'a folder that ifupdown does not read',
      tap,
      /add a line first: source-directory/,
      { ...IFUP, 'etc/network/interfaces': 'auto lo\n' },
    ],
    ['a host that nobody sets up', tap, /by hand:\n.*ip tuntap add dev tap0 mode tap user ann/, {}],
    [
      'a bridge of bad name',
      [...tap.slice(0, 4), '--tap-bridge', 'br0; reboot'],
      /--tap-bridge br0; reboot: not a name/,
      IF,
    ],
    ['a user of bad name', ['--tap', 'tap0', '--user', 'ann smith'], /--user ann smith: not the name of a user/, IF],
  ])('refuses %s', (_, args, says, files) => {
    const dir = host(files)
    expectRefused(dir, args, says)
  })
})
