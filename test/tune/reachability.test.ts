import { describe, expect, it } from 'vitest'
import { expectRan } from '../support/bind.ts'
import { needs } from '../support/needs.ts'
import { IFUPDOWN } from '../support/network-cases-ifupdown.ts'
import { MANAGER } from '../support/network-cases-manager.ts'
import { SYSTEMD } from '../support/network-cases-systemd.ts'
import { IFUP, interfaces, NETPLAN, NETWORKD, NM, profile, wired, yaml } from '../support/networks.ts'
import { bootable, bridge, cardHost, missing, type Tool, tune, write } from '../support/reach.ts'

// Who reached the host before reaches it after the boot and after the undo, at the same addresses: by real programs.

const six = '\n[IPv6AcceptRA]\nDHCPv6Client=always\n'
// A cable between namespaces has no permanent address, by which netplan matches.
const plain = yaml.replace(/ +match:\n.*\n.*set-name.*\n/, '')
const HOSTS: [name: string, tool: Tool, files: Record<string, string>][] = [
  ['an address that is written down', 'ifupdown', { ...IFUP, 'etc/network/interfaces': interfaces }],
  [
    'DHCP for both families',
    'ifupdown',
    {
      ...IFUP,
      'etc/network/interfaces':
        'auto lo enp5s0\niface lo inet loopback\niface enp5s0 inet dhcp\niface enp5s0 inet6 dhcp\n',
    },
  ],
  ['an address that is written down', 'networkd', { ...NETWORKD, 'etc/systemd/network/20-wired.network': wired }],
  [
    'DHCP for both families',
    'networkd',
    { ...NETWORKD, 'etc/systemd/network/20-wired.network': `[Match]\nName=en*\n\n[Network]\nDHCP=yes\n${six}` },
  ],
  ['an address that is written down', 'netplan', { ...NETPLAN, ...NETWORKD, 'etc/netplan/50-cloud-init.yaml': plain }],
  [
    'DHCP for both families',
    'netplan',
    {
      ...NETPLAN,
      ...NETWORKD,
      'etc/netplan/01.yaml': 'network:\n  ethernets:\n    enp5s0:\n      dhcp4: true\n      dhcp6: true\n',
    },
  ],
  [
    'NetworkManager and DHCP',
    'netplan',
    {
      ...NETPLAN,
      ...NM,
      'etc/netplan/01.yaml':
        'network:\n  renderer: NetworkManager\n  ethernets:\n    enp5s0:\n      dhcp4: true\n      dhcp6: true\n',
    },
  ],
  [
    'an address that is written down',
    'NetworkManager',
    { ...NM, 'etc/NetworkManager/system-connections/Office.nmconnection': profile },
  ],
  [
    'DHCP for both families',
    'NetworkManager',
    {
      ...NM,
      'etc/NetworkManager/system-connections/Office.nmconnection': profile
        .replace(/address1.*\ndns.*\nmethod=manual/, 'method=auto')
        .replace('interface-name=enp5s0\n', ''),
    },
  ],
]

describe('a host with a bridge is reached as before', { concurrent: true }, () => {
  for (const [what, tool, files] of HOSTS) {
    const lacks = missing(tool)
    needs(lacks.join(' and '), lacks.length === 0).it(
      `${tool}, ${what}`,
      async () => {
        const dir = cardHost(files)
        const host = bootable(tool)
        const before = await host.boot(dir)
        expect(before).toMatchObject({ device: 'enp5s0' })
        expect(before.facts).toContainEqual(expect.stringMatching(/^the neighbour reaches it at/))
        expectRan(tune(dir, ...bridge, ...write), 0)
        expect(await host.boot(dir)).toEqual({ device: 'br0', facts: before.facts })
        expectRan(tune(dir, '--undo', ...write), 0)
        expect(await host.boot(dir)).toEqual(before)
      },
      300_000,
    )
  }
})

// With VFIO_REACH=all: all that is moved by the table of docs/networks.md, but for what no cable between namespaces can do.
const MOVED = [...IFUPDOWN, ...SYSTEMD, ...MANAGER].filter(({ outcome }) => outcome === 'moved')
const TOOLS: Record<string, Tool> = { 'systemd-networkd': 'networkd' }

needs('VFIO_REACH=all', process.env.VFIO_REACH === 'all').describe(
  'and so is each that is moved',
  { concurrent: true },
  () => {
    for (const { tool: name, what, files, says } of MOVED) {
      it(`by ${name}: ${what}`, { timeout: 300_000 }, async ({ skip }) => {
        const tool = TOOLS[name] ?? (name as Tool)
        const dir = cardHost(files)
        const host = bootable(tool)
        const before = await host.boot(dir)
        if (before.device !== 'enp5s0' || what.includes('active')) skip('wants another host than namespaces are')
        expectRan(tune(dir, ...bridge, ...write), 0)
        const after = await host.boot(dir)
        if (says?.includes('another address')) expect(after).toMatchObject({ device: 'br0' })
        else expect(after).toEqual({ device: 'br0', facts: before.facts })
      })
    }
  },
)
