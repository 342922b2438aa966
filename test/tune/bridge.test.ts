import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, expectRefused, system, tune, write } from '../support/bind.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import {
  IFUP,
  interfaces,
  MAC,
  NETIFRC,
  NETPLAN,
  NETWORKD,
  NM,
  net,
  profile,
  startServices,
  stopServices,
  wired,
  yaml,
} from '../support/networks.ts'
import { runProgram } from '../support/run.ts'
import { snapshotOf, systemDir, textOf } from '../support/system.ts'

// The network of a host moves to a bridge: each program that sets networks up reads its own files, real where Debian has it.

const bridge = ['--bridge', 'br0', '--port', 'enp5s0']

function host(files: Readonly<Record<string, string>>): string {
  const dir = systemDir({ ...system, files })
  for (const [name, address] of [
    ['enp5s0', MAC],
    ['lo', '00:00:00:00:00:00'],
  ] as const) {
    mkdirSync(join(dir, `sys/class/net/${name}`), { recursive: true })
    writeFileSync(join(dir, `sys/class/net/${name}/address`), `${address}\n`)
  }
  return dir
}

const HOSTS: [name: string, files: Record<string, string>][] = [
  ['ifupdown', { ...IFUP, 'etc/network/interfaces': interfaces }],
  ['systemd-networkd', { ...NETWORKD, 'etc/systemd/network/20-wired.network': wired }],
  ['netplan', { ...NETPLAN, ...NETWORKD, 'etc/netplan/50-cloud-init.yaml': yaml }],
  ['NetworkManager', { ...NM, 'etc/NetworkManager/system-connections/Office.nmconnection': profile }],
  ['netifrc', { ...NETIFRC, 'etc/conf.d/net': net }],
]

describe('a bridge', { concurrent: true }, () => {
  it.each(HOSTS)('by %s: planned, applied once, taken back byte for byte', (name, files) => {
    for (const args of [bridge, name === 'systemd-networkd' ? [] : [...bridge, '--vlan', '20']]) {
      if (args.length === 0) continue
      const dir = host(files)
      const before = snapshotOf(join(dir, 'etc'))
      const plan = tune(dir, ...args)
      expectRan(plan, 1, new RegExp(`set up by ${name} `))
      expect(JSON.parse(tune(dir, ...args, '--json').stdout)).toMatchObject({ rebootNeeded: true })
      expectRan(tune(dir, ...args, ...write), 0)
      expect(snapshotOf(join(dir, 'etc'))).not.toBe(before)
      if (name === 'netifrc') startServices(dir, 'br0')
      expectRan(tune(dir, ...args), 0, /Nothing to do/)
      expectRan(tune(dir, '--bridge', 'br1', '--port', 'enp5s0'), 2, /br0 is a bridge .*take that back first/)
      expectRan(tune(dir, '--undo', 'bridge', ...write), 0)
      if (name === 'netifrc') stopServices(dir, 'br0')
      expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    }
  })

  it('ifupdown: addresses move, the other card stays, lines of the person too', () => {
    const dir = host(HOSTS[0]?.[1] ?? {})
    tune(dir, ...bridge, ...write)
    const ports = `    pre-up [ -d /sys/class/net/br0 ] || ip link add name br0 address ${MAC} type bridge
    pre-up ip link set enp5s0 master br0
    pre-up ip link set enp5s0 up
    post-down ip link del br0
`
    expect(textOf(dir, 'etc/network/interfaces')).toBe(
      interfaces
        .replace('auto lo enp5s0', 'auto lo br0')
        .replace('allow-hotplug enp5s0 enp6s0', 'auto br0\nallow-hotplug enp6s0')
        .replace('iface enp5s0 inet static\n', `iface br0 inet static\n${ports}`)
        .replace('iface enp5s0 inet6 auto', 'iface br0 inet6 auto'),
    )
  })

  needs('ifquery').it('ifupdown: the real ifquery reads the same for the bridge as it did for the card', () => {
    const dir = host({ ...IFUP, 'etc/network/interfaces': interfaces.replace(/^source.*\n/m, '') })
    const query = (name: string): string =>
      runProgram('ifquery', ['-i', join(dir, 'etc/network/interfaces'), name]).stdout
    const before = query('enp5s0')
    expect(before).toContain('address: 192.0.2.5')
    tune(dir, ...bridge, ...write)
    const own = /^(pre-up|post-down): /
    const rest = query('br0')
      .split('\n')
      .filter((line) => !own.test(line))
    expect(rest.join('\n')).toBe(before)
    expect(query('br0')).toContain(`ip link add name br0 address ${MAC} type bridge`)
    expect(query('enp5s0')).toBe('')
  })

  it('systemd-networkd: the bridge says what the card’s file said; the file itself stays', () => {
    const dir = host(HOSTS[1]?.[1] ?? {})
    tune(dir, ...bridge, ...write)
    const own = 'etc/systemd/network/05-vfio-scripts'
    expect(textOf(dir, `${own}-br0.network`)).toContain(
      '[Match]\nName=br0\n\n[Network]\nAddress=192.0.2.5/24\nDNS=192.0.2.1\n\n[Route]\nGateway=192.0.2.1\n',
    )
    expect(textOf(dir, `${own}-br0.network`)).not.toContain('MTUBytes')
    expect(textOf(dir, `${own}-enp5s0.network`)).toContain('[Match]\nName=enp5s0\n\n[Network]\nBridge=br0\n')
    expect(textOf(dir, `${own}-br0.netdev`)).toContain(`[NetDev]\nName=br0\nKind=bridge\nMACAddress=${MAC}\n`)
    expect(textOf(dir, 'etc/systemd/network/20-wired.network')).toBe(wired)
  })

  it('systemd-networkd: a VLAN for guests leaves the host’s own network alone', () => {
    const files = { ...NETWORKD, 'etc/systemd/network/20-wired.network': wired.replace('en*', 'enp5s0') }
    const dir = host(files)
    const before = snapshotOf(join(dir, 'etc'))
    tune(dir, ...bridge, '--vlan', '20', ...write)
    expect(textOf(dir, 'etc/systemd/network/20-wired.network.d/vfio-scripts.conf')).toContain(
      '[Network]\nVLAN=enp5s0.20\n',
    )
    expect(textOf(dir, 'etc/systemd/network/05-vfio-scripts-enp5s0.20.netdev')).toContain(
      'Kind=vlan\n\n[VLAN]\nId=20\n',
    )
    tune(dir, '--undo', ...write)
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
    expectRan(tune(host(HOSTS[1]?.[1] ?? {}), ...bridge, '--vlan', '20'), 2, /matches more than enp5s0/)
  })

  needs('netplan').it('netplan: the real generator gives the bridge what the card had', () => {
    const dir = host(HOSTS[2]?.[1] ?? {})
    tune(dir, ...bridge, ...write)
    const root = scratchDir('netplan')
    mkdirSync(join(root, 'etc'))
    runProgram('cp', ['-a', join(dir, 'etc/netplan'), join(root, 'etc/netplan')])
    const ran = runProgram('netplan', ['generate', '--root-dir', root])
    expect(ran).toMatchObject({ code: 0 })
    expect(ran.stderr).not.toMatch(/error|invalid/i)
    const made = (name: string): string | null => textOf(root, `run/systemd/network/10-netplan-${name}.network`)
    expect(made('br0')).toMatch(/Address=192\.0\.2\.5\/24[\s\S]*DNS=192\.0\.2\.1[\s\S]*Gateway=192\.0\.2\.1/)
    expect(made('enp5s0')).toContain('Bridge=br0')
    expect(made('enp5s0')).not.toMatch(/^Address=|Gateway=|DHCP=(yes|ipv4)/m)
    expect(textOf(root, 'run/systemd/network/10-netplan-br0.netdev')).toContain(`MACAddress=${MAC}`)
    expect(made('enp6s0')).toContain('DHCP=ipv4')
    rmSync(root, { recursive: true })
  })

  needs('netplan').it('netplan: what its generator refuses is found before anything is written', () => {
    const files = { ...NETPLAN, ...NETWORKD, 'etc/netplan/50.yaml': yaml }
    const dir = host({ ...files, 'etc/netplan/90.yaml': 'network:\n  vlans:\n    v5: {id: 5, link: gone0}\n' })
    const before = snapshotOf(dir)
    for (const more of [[], ['--apply'], write]) {
      const ran = tune(dir, ...bridge, ...more)
      expect(ran).toMatchObject({ code: 2, stdout: '' })
      expect(ran.stderr).toMatch(/^tune-host: netplan generate refuses what would be written: .*gone0.*nothing was\n$/)
      expect(ran.stderr).not.toContain('/tmp')
    }
    expect(snapshotOf(dir)).toBe(before)
  })

  it('netplan: refuses what it would have to guess', () => {
    const flow = 'network: {version: 2, ethernets: {enp5s0: {dhcp4: true}}}\n'
    expectRan(
      tune(host({ ...NETPLAN, 'etc/netplan/01.yaml': flow }), ...bridge),
      2,
      /form of YAML that is not edited here/,
    )
    const inner = 'network:\n  ethernets:\n    enp5s0: {dhcp4: true}\n'
    expectRan(
      tune(host({ ...NETPLAN, 'etc/netplan/01.yaml': inner }), ...bridge),
      2,
      /form of YAML that is not edited here/,
    )
    const two = { 'etc/netplan/01.yaml': yaml, 'etc/netplan/02.yaml': yaml }
    expectRan(tune(host({ ...NETPLAN, ...two }), ...bridge), 2, /01\.yaml and .*02\.yaml both set it up/)
  })

  needs('nmcli').it('NetworkManager: its own program reads the profiles', () => {
    const dir = host(HOSTS[3]?.[1] ?? {})
    tune(dir, ...bridge, ...write)
    const folder = 'etc/NetworkManager/system-connections'
    const read = (id: string): string => {
      const script = `nmcli --offline connection modify connection.id x <'${join(dir, folder, id)}.nmconnection'`
      const ran = runProgram('sh', ['-c', script])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      return ran.stdout
    }
    expect(read('vfio-scripts-br0')).toMatch(
      /interface-name=br0[\s\S]*address1=192\.0\.2\.5\/24,192\.0\.2\.1[\s\S]*method=manual/,
    )
    expect(read('vfio-scripts-br0')).toMatch(new RegExp(`mac-address=${MAC}`, 'i'))
    expect(read('vfio-scripts-br0-port')).toMatch(/interface-name=enp5s0[\s\S]*(master|controller)=br0/)
    expect(textOf(dir, `${folder}/Office.nmconnection`)).toBe(profile)
    const mode = runProgram('stat', ['-c', '%a', join(dir, folder, 'vfio-scripts-br0.nmconnection')])
    expect(mode.stdout).toBe('600\n')
  })

  needs('nmcli').it('NetworkManager: profiles that say the same of IPv4 and IPv6 are whole', () => {
    const auto = profile.replace(/address1.*\ndns.*\nmethod=manual/, 'method=auto')
    for (const args of [bridge, [...bridge, '--vlan', '20']]) {
      const dir = host({ ...NM, 'etc/NetworkManager/system-connections/Office.nmconnection': auto })
      tune(dir, ...args, ...write)
      const file = join(dir, 'etc/NetworkManager/system-connections/vfio-scripts-br0.nmconnection')
      const ran = runProgram('sh', ['-c', `nmcli --offline connection modify connection.id x <'${file}'`])
      expect(ran).toMatchObject({ code: 0, stderr: '' })
      expect(ran.stdout.match(/^method=/gm)).toHaveLength(2)
    }
  })

  needs('bash').it('netifrc: variables as bash reads them', () => {
    const dir = host(HOSTS[4]?.[1] ?? {})
    expectRan(
      tune(dir, ...bridge, ...write),
      0,
      /ln -s net\.lo \/etc\/init\.d\/net\.br0\n.*rc-update add net\.br0 default\n/,
    )
    startServices(dir, 'br0')
    expectRan(tune(dir, '--undo', ...write), 0, /rc-update del net\.br0 default\n.*rm \/etc\/init\.d\/net\.br0\n/)
    stopServices(dir, 'br0')
    expectRan(tune(dir, ...bridge, ...write), 0)
    const show = `. '${join(dir, 'etc/conf.d/net')}'; echo "$config_br0|$routes_br0|$dns_servers_br0|$config_enp5s0|$bridge_br0|$rc_net_br0_need|$config_enp6s0"`
    expect(runProgram('bash', ['-c', show]).stdout).toBe(
      '192.0.2.5/24|default via 192.0.2.1|192.0.2.1|null|enp5s0|net.enp5s0|dhcp\n',
    )
  })

  it.each<[string, string[], RegExp, Record<string, string>?]>([
    ['no port', ['--bridge', 'br0'], /--bridge needs --port/],
    [
      'a card that there is not',
      ['--bridge', 'br0', '--port', 'eth9'],
      /eth9: no such network card here; there is enp5s0/,
    ],
    ['a long name', ['--bridge', 'a-bridge-of-long-name', '--port', 'enp5s0'], /not a name for a network interface/],
    ['a name with a line in it', ['--bridge', 'br0\nx', '--port', 'enp5s0'], /not a name for a network interface/],
    ['no VLAN', [...bridge, '--vlan', '5000'], /not the number of a VLAN/],
    ['a wireless card', bridge, /bridge-port.*wireless/s, { 'sys/class/net/enp5s0/wireless/x': '' }],
    ['a host that nobody sets up', bridge, /nothing that is known here sets enp5s0 up/],
  ])('refuses %s', (_, args, says, files) => {
    const dir = host(files ? { ...IFUP, 'etc/network/interfaces': interfaces, ...files } : {})
    expectRefused(dir, args, says)
  })
})
