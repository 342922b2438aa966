import { casesOf, cloud, type NetworkCase, type Row } from './network-case.ts'
import { MAC, NETPLAN, NETWORKD, wired, yaml } from './networks.ts'

// Those of systemd-networkd and netplan.

const NETWORK = 'etc/systemd/network/20-wired.network'
const OWN = 'etc/systemd/network/05-vfio-scripts'
const match = '[Match]\nName=enp5s0\n\n'
const dhcp = `${match}[Network]\nDHCP=yes\n`

const networkd: Row[] = [
  ['static', wired, 'moved', ['br0.network', 'Address=192.0.2.5/24', '!MTUBytes']],
  ['DHCP', dhcp, 'moved', ['br0.network', '[DHCPv4]\nIAID=1232215879\n', '[DHCPv6]\nIAID=1232215879\n']],
  ['`IAID=` of its own', `${dhcp}\n[DHCPv4]\nIAID=7\n`, 'moved', ['br0.network', '[DHCPv4]\nIAID=7\n', '!IAID=1']],
  [
    '`[Link] MTUBytes=`',
    `${match}[Link]\nMTUBytes=9000\nRequiredForOnline=routable\n\n[Network]\nDHCP=yes\n`,
    'moved',
    ['enp5s0.network', 'Bridge=br0\n\n[Link]\nMTUBytes=9000\n', '!Required'],
  ],
  [
    '`[Link] RequiredForOnline=`',
    `${match}[Link]\nMTUBytes=9000\nRequiredForOnline=routable\n\n[Network]\nDHCP=yes\n`,
    'moved',
    ['br0.network', '[Link]\nRequiredForOnline=routable\n', '!MTUBytes'],
  ],
  [
    '`[SR-IOV]`',
    `${dhcp}\n[SR-IOV]\nVirtualFunction=0\nVLANId=5\n`,
    'moved',
    ['enp5s0.network', '[SR-IOV]\nVirtualFunction=0\nVLANId=5\n'],
  ],
  [
    '`Kind=!*`, `Type=ether`',
    '[Match]\nType=ether\nKind=!*\n\n[Network]\nDHCP=yes\n',
    'moved',
    ['br0.network', 'DHCP=yes'],
  ],
  [
    '`IPv6AcceptRA` with `Token=prefixstable`',
    `${dhcp}\n[IPv6AcceptRA]\nToken=prefixstable\n`,
    'moved: IPv6: br0 gets another address than enp5s0 has',
  ],
  ['`Bond=`', `${match}[Network]\nBond=bond0\n`, 'refused: has Bond=bond0; an interface has one master'],
  ['`Bridge=`', `${match}[Network]\nBridge=br1\n`, 'refused: has Bridge=br1; an interface has one master'],
  [
    'matched by `Driver=`',
    '[Match]\nDriver=e1000e\n\n[Network]\nDHCP=yes\n',
    'refused: may match enp5s0 or not (Driver=e1000e)',
  ],
  ['`Unmanaged=yes`', `${match}[Link]\nUnmanaged=yes\n`, 'refused: nothing that is known here sets enp5s0 up'],
]

const YAML = 'etc/netplan/50.yaml'
const card = (lines: string): string =>
  `network:\n  version: 2\n  ethernets:\n    enp5s0:\n${lines.replace(/^(?=.)/gm, '      ')}`
const generated = `# This file is generated from information provided by the datasource.\n${card('dhcp4: true\n')}`

const netplan: Row[] = [
  [
    'static',
    yaml,
    'moved',
    ['99-vfio-scripts.yaml', 'addresses:\n        - 192.0.2.5/24', `macaddress: ${MAC}`, '!mtu: 9000'],
  ],
  ['DHCP', card('dhcp4: true\n'), 'moved', ['99-vfio-scripts.yaml', 'dhcp4: true', 'stp: false']],
  [
    '`auth:`',
    card('dhcp4: true\nauth:\n  key-management: 802.1x\n  method: tls\n'),
    'moved',
    ['50.yaml', 'auth:\n        key-management: 802.1x', 'dhcp4: false'],
  ],
  [
    '`virtual-function-count:`',
    card('virtual-function-count: 4\ndhcp4: true\n'),
    'moved',
    ['50.yaml', 'virtual-function-count: 4'],
  ],
  [
    '`renderer:` of the card',
    card('renderer: NetworkManager\ndhcp4: true\n'),
    'moved',
    ['99-vfio-scripts.yaml', 'renderer: NetworkManager', 'ipv6.dhcp-iaid: "1232215879"'],
  ],
  [
    '`renderer:` of all cards',
    card('dhcp4: true\n').replace('    enp5s0', '    renderer: NetworkManager\n    enp5s0'),
    'moved',
    ['99-vfio-scripts.yaml', 'renderer: NetworkManager'],
  ],
  ['`optional: true`', card('optional: true\ndhcp4: true\n'), 'moved', ['99-vfio-scripts.yaml', 'optional: true']],
  [
    'a name of its own, `match:`',
    `network:\n  ethernets:\n    lan:\n      match:\n        macaddress: ${MAC}\n      dhcp4: true\n`,
    'moved',
    ['99-vfio-scripts.yaml', 'interfaces: [lan]'],
  ],
  [
    '`match:` with several cards',
    'network:\n  ethernets:\n    lan:\n      match: {name: "en*"}\n      dhcp4: true\n',
    'refused: lan matches more than enp5s0',
  ],
  [
    'a member of a bond',
    `${card('dhcp4: false\n')}  bonds:\n    bond0:\n      interfaces: [enp5s0, enp6s0]\n      dhcp4: true\n`,
    'refused: enp5s0 is a part of a bond or of a bridge already',
  ],
  [
    'a port of a bridge',
    `${card('dhcp4: false\n')}  bridges:\n    lan:\n      interfaces:\n      - enp5s0\n`,
    'refused: enp5s0 is a part of a bond or of a bridge already',
  ],
  [
    'flow style',
    'network: {version: 2, ethernets: {enp5s0: {dhcp4: true}}}\n',
    'refused: form of YAML that is not edited here',
  ],
  ['a device br0', `${card('dhcp4: true\n')}  bridges:\n    br0:\n      interfaces: []\n`, 'refused: has br0 already'],
]

export const SYSTEMD: readonly NetworkCase[] = [
  ...casesOf('systemd-networkd', NETWORKD, NETWORK, networkd, (name) => `${OWN}-${name}`),
  {
    tool: 'systemd-networkd',
    what: 'drop-ins in /etc for a file in /usr',
    files: {
      ...NETWORKD,
      'usr/lib/systemd/network/20-wired.network': dhcp,
      'etc/systemd/network/20-wired.network.d/mine.conf': '[Network]\nDNS=192.0.2.7\n',
    },
    outcome: 'moved',
    wrote: [[`${OWN}-br0.network`, 'DHCP=yes', 'DNS=192.0.2.7']],
  },
  {
    tool: 'systemd-networkd',
    what: 'a file that sorts before 05',
    files: { ...NETWORKD, 'etc/systemd/network/01-lan.network': dhcp },
    outcome: 'moved',
    wrote: [['etc/systemd/network/00-vfio-scripts-br0.network', 'DHCP=yes']],
  },
  {
    tool: 'systemd-networkd',
    what: 'a file for all that sorts before any of ours',
    files: { ...NETWORKD, 'etc/systemd/network/00-all.network': '[Match]\nName=*\n\n[Network]\nDHCP=yes\n' },
    outcome: 'refused',
    says: 'sorts before any file of ours',
  },
  {
    tool: 'systemd-networkd',
    what: 'a `.netdev` that makes br0',
    files: { ...NETWORKD, [NETWORK]: dhcp, 'etc/systemd/network/30.netdev': '[NetDev]\nName=br0\nKind=bridge\n' },
    outcome: 'refused',
    says: 'makes an interface br0 already',
  },
  {
    tool: 'systemd-networkd',
    what: 'DHCP, while udev’s name of the card is not known',
    files: { ...NETWORKD, [NETWORK]: dhcp, 'sys/class/net/enp5s0/ifindex': '9\n' },
    outcome: 'moved',
    says: 'DHCP: br0 may get another address than enp5s0 has',
  },
  ...casesOf('netplan', { ...NETPLAN, ...NETWORKD }, YAML, netplan, (name) => `etc/netplan/${name}`),
  {
    tool: 'netplan',
    what: 'in two files',
    files: { ...NETPLAN, 'etc/netplan/01.yaml': card('dhcp4: true\n'), 'etc/netplan/02.yaml': card('mtu: 9000\n') },
    outcome: 'refused',
    says: '/etc/netplan/01.yaml and /etc/netplan/02.yaml both set it up',
  },
  {
    tool: 'netplan',
    what: 'written by cloud-init',
    files: { ...NETPLAN, ...NETWORKD, ...cloud, 'etc/netplan/50-cloud-init.yaml': generated },
    outcome: 'moved',
    says: 'cloud-init wrote /etc/netplan/50-cloud-init.yaml and would again',
    wrote: [['etc/cloud/cloud.cfg.d/99-vfio-scripts.cfg', 'network: {config: disabled}\n']],
  },
]
