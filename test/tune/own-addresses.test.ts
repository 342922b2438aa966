import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { expectRan, expectRefused } from '../support/bind.ts'
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
} from '../support/networks.ts'
import { bootable, cardHost, missing, type Tool, tune, write } from '../support/reach.ts'
import { has, runProgram, works } from '../support/run.ts'
import { snapshotOf, textOf } from '../support/system.ts'

// A bridge in a VLAN where the host has an address itself: by each program, and as the real ones read it.

const vlan = ['--bridge', 'br3000', '--port', 'enp5s0', '--vlan', '3000']
const own = ['--address', '10.0.0.37/24', '--gateway', '10.0.0.1', '--dns', '172.16.64.71']
const both = [...own, '--address', '2001:db8:1::37/64', '--gateway', '2001:db8:1::1', '--dns', '2001:db8:1::53']

const card = (more = ''): string => `network:\n  version: 2\n  ethernets:\n    enp5s0: ${more}\n`
const wired = '[Match]\nName=enp5s0\n\n[Network]\nLinkLocalAddressing=no\n'
const manual =
  '[connection]\nid=card\ntype=ethernet\ninterface-name=enp5s0\n\n[ipv4]\nmethod=disabled\n\n[ipv6]\nmethod=disabled\n'
const HOSTS: Record<string, Record<string, string>> = {
  ifupdown: { ...IFUP, 'etc/network/interfaces': interfaces },
  'systemd-networkd': { ...NETWORKD, 'etc/systemd/network/20-wired.network': wired },
  netplan: { ...NETPLAN, ...NETWORKD, 'etc/netplan/00-main.yaml': card('{}') },
  NetworkManager: { ...NM, 'etc/NetworkManager/system-connections/card.nmconnection': manual },
  netifrc: { ...NETIFRC, 'etc/conf.d/net': net },
}
/** Has the kernel VLANs (CONFIG_VLAN_8021Q)? */
const VLANS = has('ip') && works('unshare', '-rn', ...'ip link add link lo name v9 type vlan id 9'.split(' '))
const hostBy = (name: string): string => cardHost(HOSTS[name] ?? {})

/** The kernel of this host has a default route by the interface. */
function defaultRoute(dir: string, by: string): void {
  mkdirSync(join(dir, 'proc/net'), { recursive: true })
  const route = `${by}\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n`
  writeFileSync(join(dir, 'proc/net/route'), `Iface\tDestination\tGateway\tFlags\n${route}`)
}

describe('a bridge in a VLAN with an address of the host', () => {
  it.each(Object.keys(HOSTS))('by %s: planned, applied once, taken back byte for byte', (name) => {
    const dir = hostBy(name)
    const before = snapshotOf(join(dir, 'etc'))
    expectRan(tune(dir, ...vlan, ...own), 1, /The host has 10\.0\.0\.37\/24 on br3000/)
    expectRan(tune(dir, ...vlan, ...own, ...write), 0)
    if (name === 'netifrc') startServices(dir, 'br3000')
    expectRan(tune(dir, ...vlan, ...own), 0, /Nothing to do/)
    expectRan(tune(dir, ...vlan, '--address', '10.0.0.38/24'), 2, /take that back first/)
    expectRan(tune(dir, '--undo', 'bridge', ...write), 0)
    if (name === 'netifrc') stopServices(dir, 'br3000')
    expect(snapshotOf(join(dir, 'etc'))).toBe(before)
  })

  it('systemd-networkd and NetworkManager: each family has its section', () => {
    const dir = hostBy('systemd-networkd')
    tune(dir, ...vlan, ...both, ...write)
    expect(textOf(dir, 'etc/systemd/network/05-vfio-scripts-br3000.network')).toContain(
      '[Match]\nName=br3000\n\n[Network]\nLinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nAddress=10.0.0.37/24\nAddress=2001:db8:1::37/64\nGateway=10.0.0.1\nGateway=2001:db8:1::1\nDNS=172.16.64.71\nDNS=2001:db8:1::53\n',
    )
    const manager = hostBy('NetworkManager')
    tune(manager, ...vlan, ...both, ...write)
    expect(textOf(manager, 'etc/NetworkManager/system-connections/vfio-scripts-br3000.nmconnection')).toContain(
      '\n[ipv4]\nmethod=manual\naddress1=10.0.0.37/24\ngateway=10.0.0.1\ndns=172.16.64.71;\n\n[ipv6]\nmethod=manual\naddress1=2001:db8:1::37/64\ngateway=2001:db8:1::1\ndns=2001:db8:1::53;\n',
    )
  })

  needs('nmcli').it('NetworkManager: its own program reads the profile', () => {
    const dir = hostBy('NetworkManager')
    tune(dir, ...vlan, ...both, ...write)
    const file = join(dir, 'etc/NetworkManager/system-connections/vfio-scripts-br3000.nmconnection')
    const ran = runProgram('sh', ['-c', `nmcli --offline connection modify connection.id x <'${file}'`])
    expect(ran).toMatchObject({ code: 0, stderr: '' })
    expect(ran.stdout).toMatch(/10\.0\.0\.37\/24[\s\S]*2001:db8:1::37\/64/)
  })

  needs('netplan').it.each([
    ['a card that is set up by a file alone', card('{}'), both],
    ['a card with an address of its own', card('\n      addresses: [192.0.2.5/24]'), own],
  ])('netplan: the real generator, %s', (_, text, args) => {
    const dir = cardHost({ ...NETPLAN, ...NETWORKD, 'etc/netplan/00-main.yaml': text })
    tune(dir, ...vlan, ...args, ...write)
    const root = scratchDir('netplan')
    mkdirSync(join(root, 'etc'))
    runProgram('cp', ['-a', join(dir, 'etc/netplan'), join(root, 'etc/netplan')])
    const ran = runProgram('netplan', ['generate', '--root-dir', root])
    expect([ran.code, ran.stderr.replace(/^.*(openvswitch|Permissions).*$/gim, '').trim()]).toEqual([0, ''])
    const made = (name: string): string => textOf(root, `run/systemd/network/10-netplan-${name}`) ?? ''
    expect(made('enp5s0.3000.netdev')).toMatch(/Kind=vlan[\s\S]*Id=3000/)
    expect(made('enp5s0.network')).toContain('VLAN=enp5s0.3000')
    expect(made('enp5s0.3000.network')).toContain('Bridge=br3000')
    const bridge = made('br3000.network')
    expect(bridge).toContain('Address=10.0.0.37/24')
    expect(bridge).toContain('DNS=172.16.64.71')
    expect(bridge).toMatch(/\[Route\]\nDestination=0\.0\.0\.0\/0\nGateway=10\.0\.0\.1/)
    expect(bridge).toMatch(/IPv6AcceptRA=no/)
    if (args === both) expect(bridge).toMatch(/Address=2001:db8:1::37\/64[\s\S]*Gateway=2001:db8:1::1/)
    if (args === own) expect(made('enp5s0.network')).toContain('Address=192.0.2.5/24')
    rmSync(root, { recursive: true })
  })

  needs('netplan').it('netplan: a card that is {} becomes the port of a bridge as well', () => {
    const dir = hostBy('netplan')
    expectRan(tune(dir, '--bridge', 'br0', '--port', 'enp5s0', ...write), 0)
    expect(textOf(dir, 'etc/netplan/00-main.yaml')).toBe(
      card().replace('enp5s0: \n', 'enp5s0:\n      dhcp4: false\n      dhcp6: false\n'),
    )
  })

  needs('ifquery').it('ifupdown: the real ifquery', () => {
    const dir = hostBy('ifupdown')
    tune(dir, ...vlan, ...both, ...write)
    const file = join(dir, 'etc/network/interfaces.d/vfio-scripts')
    const { stdout, stderr } = runProgram('ifquery', ['-i', file, 'br3000'])
    expect(stderr).toBe('')
    for (const line of [
      'address: 10.0.0.37\n',
      'netmask: 255.255.255.0',
      'gateway: 10.0.0.1',
      'address: 2001:db8:1::37',
      'accept_ra: 0',
    ])
      expect(stdout).toContain(line)
    expect(stdout).toContain('dns-nameservers: 172.16.64.71 2001:db8:1::53')
    expect(stdout.match(/pre-up: ip link add/g)).toHaveLength(1)
    // Without a stanza of inet6 no option keeps router advertisements out.
    const four = hostBy('ifupdown')
    tune(four, ...vlan, ...own, ...write)
    const alone = runProgram('ifquery', ['-i', join(four, 'etc/network/interfaces.d/vfio-scripts'), 'br3000'])
    expect(alone.stdout).toContain('pre-up: echo 0 >/proc/sys/net/ipv6/conf/br3000/accept_ra || true')
    expect(stdout).not.toContain('echo 0')
  })

  needs('bash').it('netifrc: variables as bash reads them', () => {
    const dir = hostBy('netifrc')
    tune(dir, ...vlan, ...own, ...write)
    const show = `. '${join(dir, 'etc/conf.d/net')}'; echo "$config_br3000|$routes_br3000|$dns_servers_br3000|$vlans_enp5s0|$bridge_br3000"`
    expect(runProgram('bash', ['-c', show]).stdout).toBe(
      '10.0.0.37/24|default via 10.0.0.1|172.16.64.71|3000|enp5s0.3000\n',
    )
  })

  it.each<[string, string[], RegExp]>([
    ['without a VLAN', ['--bridge', 'br0', '--port', 'enp5s0', ...own], /--address goes with --vlan/],
    ['a gateway alone', [...vlan, '--gateway', '10.0.0.1'], /--gateway goes with --address/],
    ['no length', [...vlan, '--address', '10.0.0.37'], /with the length of its network/],
    ['a long length', [...vlan, '--address', '10.0.0.37/33'], /with the length of its network/],
    ['a part that is too large', [...vlan, '--address', '10.0.0.370/24'], /with the length of its network/],
    [
      'no address',
      [...vlan, '--address', '10.0.0.37/24', '--dns', 'one.example'],
      /--dns one\.example: this is no address/,
    ],
    ['text in it', [...vlan, '--address', '10.0.0.37/24\n  x: 1'], /with the length of its network/],
    [
      'a gateway elsewhere',
      [...vlan, '--address', '10.0.0.37/24', '--gateway', '10.0.1.1'],
      /in no network of --address/,
    ],
    ['one of the other family', [...vlan, '--address', '10.0.0.37/24', '--gateway', 'fd00::1'], /in no network/],
    ['a DNS server of the other family', [...vlan, ...own, '--dns', '2001:db8:1::53'], /no IPv6 address in the VLAN/],
    ['two of a family', [...vlan, ...own, '--gateway', '10.0.0.2'], /one default route/],
  ])('refuses %s', (_, args, says) => {
    for (const name of ['ifupdown', 'netplan']) {
      const dir = hostBy(name)
      expectRefused(dir, args, says)
    }
  })

  it('asked for again after the boot, which made its route', () => {
    const dir = hostBy('netplan')
    expectRan(tune(dir, ...vlan, ...own, ...write), 0)
    defaultRoute(dir, 'br3000')
    expectRan(tune(dir, ...vlan, ...own), 0, /Nothing to do/)
  })

  it('refuses a second default route, and a second address where one line has to hold it', () => {
    const dir = hostBy('netplan')
    defaultRoute(dir, 'enp6s0')
    expectRan(tune(dir, ...vlan, ...own), 2, /has a default route by enp6s0 already/)
    expectRan(tune(dir, ...vlan, '--address', '10.0.0.37/24'), 1)
    expectRan(tune(hostBy('netifrc'), ...vlan, ...both), 2, /only one is written here for netifrc/)
  })
})

describe('and is reached there, through the VLAN of a cable', () => {
  const quiet = card('\n      link-local: []\n      accept-ra: false')
  const CABLED: [tool: Tool, files: Record<string, string>][] = [
    [
      'ifupdown',
      {
        ...IFUP,
        'etc/network/interfaces':
          'source /etc/network/interfaces.d/*\nauto enp5s0\niface enp5s0 inet manual\n    up ip link set enp5s0 up\n',
      },
    ],
    ['networkd', { ...NETWORKD, 'etc/systemd/network/20-wired.network': wired }],
    ['netplan', { ...NETPLAN, ...NETWORKD, 'etc/netplan/00-main.yaml': quiet }],
    ['NetworkManager', { ...NM, 'etc/NetworkManager/system-connections/card.nmconnection': manual }],
  ]
  for (const [tool, files] of CABLED) {
    const lacks = [...missing(tool), ...(VLANS ? [] : ['VLANs of the kernel'])]
    needs(lacks.join(' and '), lacks.length === 0).it(
      `by ${tool}`,
      async () => {
        const dir = cardHost(files)
        const host = bootable(tool)
        expect((await host.boot(dir)).facts).not.toContainEqual(expect.stringContaining('10.0.0.37'))
        expectRan(tune(dir, ...vlan, ...both, ...write), 0)
        const { device, facts } = await host.boot(dir)
        expect(device).toBe('br3000')
        for (const fact of [
          'address 10.0.0.37/24 on CARD',
          'address 2001:db8:1::37/64 on CARD',
          'route default via 10.0.0.1 dev CARD',
        ])
          expect(facts).toContain(fact)
        expect(facts).toContainEqual(expect.stringMatching(/^the neighbour reaches it at 10\.0\.0\.37/))
        expectRan(tune(dir, '--undo', ...write), 0)
        expect((await host.boot(dir)).facts).not.toContainEqual(expect.stringContaining('10.0.0.37'))
      },
      300_000,
    )
  }
})
