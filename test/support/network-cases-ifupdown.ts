import { casesOf, cloud, type NetworkCase, type Row } from './network-case.ts'
import { IFUP, interfaces, MAC, NETIFRC, NM, net } from './networks.ts'

// Those of ifupdown and netifrc, and what is refused whatever sets up the network.

const IFACES = 'etc/network/interfaces'
const start = 'auto lo enp5s0\niface lo inet loopback\n'
const fixed = `${start}iface enp5s0 inet static\n    address 192.0.2.5/24\n    gateway 192.0.2.1\n`

const ifupdown: Row[] = [
  [
    'static and SLAAC',
    interfaces,
    'moved',
    [`ip link add name br0 address ${MAC} type bridge`, 'iface br0 inet6 auto'],
  ],
  ['DHCP', `${start}iface enp5s0 inet dhcp\n`, 'moved', ['grep -s ^default-duid /var/lib/dhcp/dhclient.enp5s0.leases']],
  ['DHCPv6', `${start}iface enp5s0 inet6 dhcp\n`, 'moved', ['/var/lib/dhcp/dhclient6.br0.leases']],
  [
    '`allow-hotplug /en*`',
    fixed.replace('auto lo enp5s0', 'allow-hotplug /en*'),
    'moved',
    ['auto br0\niface br0 inet static'],
  ],
  ['continued lines', fixed.replace('auto lo enp5s0', 'auto lo \\\n  enp5s0'), 'moved', ['auto lo \\\n  br0']],
  ['`mtu`', `${fixed}    mtu 9000\n`, 'moved', ['pre-up ip link set enp5s0 mtu 9000', '    mtu 9000']],
  [
    'an alias (`enp5s0:0`)',
    `${fixed}auto enp5s0:0\niface enp5s0:0 inet static\n    address 192.0.2.6/24\n`,
    'moved',
    ['auto br0:0\niface br0:0 inet static'],
  ],
  [
    '`up ip route … dev enp5s0`',
    `${fixed}    up ip route add 198.51.100.0/24 via 192.0.2.9 dev enp5s0\n`,
    'moved',
    ['via 192.0.2.9 dev br0'],
  ],
  ['`up ethtool … $IFACE`', `${fixed}    up ethtool -s $IFACE wol g\n`, 'moved', ['up ethtool -s enp5s0 wol g']],
  [
    'a VLAN of the card (`enp5s0.20`)',
    `${fixed}auto enp5s0.20\niface enp5s0.20 inet static\n    address 198.51.100.5/24\n    vlan-raw-device enp5s0\n`,
    'moved',
    ['iface enp5s0.20 inet static', 'vlan-raw-device enp5s0'],
  ],
  [
    'another command that names the card',
    `${fixed}    up iptables -A INPUT -i enp5s0 -j DROP\n`,
    'refused: is not known to go with br0 or with enp5s0',
  ],
  [
    'a script with `$IFACE`',
    `${fixed}    up /usr/local/sbin/mine $IFACE\n`,
    'refused: is not known to go with br0 or with enp5s0',
  ],
  [
    'hardware options (`offload-tso`)',
    `${fixed}    offload-tso off\n`,
    'refused: is not known to go with br0 or with enp5s0',
  ],
  [
    'a member of a bond',
    `${start}iface bond0 inet dhcp\n    bond-slaves enp5s0 enp6s0\n`,
    'refused: enp5s0 is a member of bond0',
  ],
  [
    '`bond-master`',
    `${start}iface enp5s0 inet manual\n    bond-master bond0\n`,
    'refused: is not known to go with br0 or with enp5s0',
  ],
  [
    'a port of a bridge that is not up',
    `${start}iface vmbr0 inet manual\n    bridge_ports enp5s0\n`,
    'refused: enp5s0 is a port of vmbr0 already',
  ],
  [
    '`bridge_ports all`',
    `${fixed}iface vmbr0 inet manual\n    bridge_ports all\n`,
    'refused: vmbr0 takes every card as its port',
  ],
  [
    'a route of another interface over the card',
    `${fixed}iface enp6s0 inet manual\n    up ip route add 198.51.100.0/24 dev enp5s0\n`,
    'refused: enp6s0 has a line that names enp5s0',
  ],
  [
    '`mapping`',
    `auto enp5s0\nmapping en*\n    script /usr/local/sbin/where\niface enp5s0 inet dhcp\n`,
    'refused: a mapping decides what enp5s0 is',
  ],
  [
    'an interface br0',
    `${fixed}iface br0 inet manual\n    bridge_ports none\n`,
    'refused: has an interface br0 already',
  ],
]

const netifrc: Row[] = [
  ['static', net, 'moved', [`mac_br0="${MAC}"`, 'config_br0="192.0.2.5/24"']],
  ['a member of a bond', `${net}slaves_bond0="enp5s0 enp6s0"\n`, 'refused: enp5s0 is a part of it already'],
  [
    'a function of its own',
    `${net}postup() {\n  ethtool -K enp5s0 tso off\n}\n`,
    'refused: is not known to go with br0 or with enp5s0',
  ],
  ['wpa_supplicant', `${net}wpa_supplicant_enp5s0="-Dwired"\n`, 'refused: is not known to go with br0 or with enp5s0'],
]

export const IFUPDOWN: readonly NetworkCase[] = [
  ...casesOf('ifupdown', IFUP, IFACES, ifupdown),
  {
    tool: 'ifupdown',
    what: 'IPv4 and IPv6 in two files',
    files: {
      ...IFUP,
      [IFACES]: `source interfaces.d/*.cfg\n${start}`,
      'etc/network/interfaces.d/4.cfg': 'iface enp5s0 inet dhcp\n',
      'etc/network/interfaces.d/6.cfg': 'iface enp5s0 inet6 auto\n',
    },
    outcome: 'moved',
    wrote: [
      ['etc/network/interfaces.d/4.cfg', 'iface br0 inet dhcp\n', 'ip link add name br0'],
      ['etc/network/interfaces.d/6.cfg', 'iface br0 inet6 auto\n', '!ip link add'],
    ],
  },
  {
    tool: 'ifupdown',
    what: 'beside NetworkManager, a card of a bond’s',
    files: { ...IFUP, ...NM, [IFACES]: `${start}iface bond0 inet dhcp\n    slaves enp5s0\n` },
    outcome: 'refused',
    says: 'enp5s0 is a member of bond0',
  },
  {
    tool: 'ifupdown',
    what: 'written by cloud-init',
    files: { ...IFUP, ...cloud, [IFACES]: `# Written by cloud-init\n${fixed}` },
    outcome: 'moved',
    says: 'cloud-init wrote /etc/network/interfaces and would again',
    wrote: [['etc/cloud/cloud.cfg.d/99-vfio-scripts.cfg', 'network: {config: disabled}\n']],
  },
]

export const OTHERS: readonly NetworkCase[] = [
  ...casesOf('netifrc', NETIFRC, 'etc/conf.d/net', netifrc),
  {
    tool: 'any',
    what: 'an interface br0 that is there',
    files: { ...IFUP, [IFACES]: fixed, 'sys/class/net/br0/address': `${MAC}\n` },
    outcome: 'refused',
    says: '--bridge br0: there is an interface of this name; choose another',
  },
  ...['ip=dhcp', 'nfsroot=192.0.2.1:/srv/root', 'root=/dev/nfs'].map(
    (argument): NetworkCase => ({
      tool: 'any',
      what: `\`${argument}\` on the kernel command line`,
      files: { ...IFUP, [IFACES]: fixed, 'proc/cmdline': `BOOT_IMAGE=/vmlinuz ro ${argument} quiet\n` },
      outcome: 'refused',
      says: `${argument}: the initramfs sets the network up, before anything makes a bridge`,
    }),
  ),
  {
    tool: 'any',
    what: 'a root file system over NFS',
    files: { ...IFUP, [IFACES]: fixed, 'proc/mounts': '192.0.2.1:/srv/root / nfs4 rw,relatime 0 0\n' },
    outcome: 'refused',
    says: 'the root file system is nfs4: the initramfs sets the network up',
  },
  {
    tool: 'any',
    what: 'a bond, a VLAN or a bridge as the port',
    files: { ...IFUP, [IFACES]: fixed, 'sys/class/net/enp5s0/uevent': 'DEVTYPE=bond\nINTERFACE=enp5s0\n' },
    outcome: 'refused',
    says: 'enp5s0 is no network card (bond)',
  },
]
