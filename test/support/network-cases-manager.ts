import { casesOf, type NetworkCase, type Row } from './network-case.ts'
import { MAC, NM, profile } from './networks.ts'

// Those of NetworkManager.

const PROFILE = 'etc/NetworkManager/system-connections/Office.nmconnection'
const BR0 = 'vfio-scripts-br0.nmconnection'
const PORT = 'vfio-scripts-br0-port.nmconnection'
const says = (section: string, line: string): string =>
  profile.includes(`[${section}]\n`)
    ? profile.replace(`[${section}]\n`, `[${section}]\n${line}\n`)
    : `${profile}\n[${section}]\n${line}\n`

const manager: Row[] = [
  ['static', profile, 'moved', [BR0, 'address1=192.0.2.5/24,192.0.2.1', `mac-address=${MAC}`]],
  [
    'DHCP',
    profile.replace(/address1.*\ndns.*\nmethod=manual/, 'method=auto'),
    'moved',
    [BR0, 'method=auto\ndhcp-iaid=1232215879\n'],
  ],
  ['`mtu=`', says('ethernet', 'mtu=9000'), 'moved', [PORT, '[ethernet]\nmtu=9000\n']],
  ['`zone=`', says('connection', 'zone=trusted'), 'moved', [BR0, 'zone=trusted\n']],
  [
    '`addr-gen-mode=stable-privacy`',
    says('ipv6', 'addr-gen-mode=stable-privacy'),
    'moved: IPv6: br0 gets another address than enp5s0 has',
  ],
  ['802.1X', says('802-1x', 'eap=tls;'), 'refused: enp5s0 has to log in to its switch (802.1X)'],
  [
    '`cloned-mac-address=`',
    says('ethernet', 'cloned-mac-address=random'),
    'refused: gives enp5s0 another address (cloned-mac-address)',
  ],
  ['a port of a bond', says('connection', 'master=bond0'), 'refused: enp5s0 is a port of bond0 already'],
  [
    '`autoconnect=false`',
    says('connection', 'autoconnect=false'),
    'refused: may set enp5s0 up, but not by itself at boot',
  ],
  [
    'the highest priority',
    says('connection', 'autoconnect-priority=999'),
    'refused: has the highest autoconnect-priority there is',
  ],
]

const other = {
  'etc/NetworkManager/system-connections/Other': profile.replace('Office', 'Other').replace(/uuid=1/, 'uuid=2'),
}

export const MANAGER: readonly NetworkCase[] = [
  ...casesOf('NetworkManager', NM, PROFILE, manager, (name) => `etc/NetworkManager/system-connections/${name}`),
  {
    tool: 'NetworkManager',
    what: 'no profile',
    files: NM,
    outcome: 'moved',
    says: 'IPv6: br0 gets another address than enp5s0 has',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, '[ipv4]\nmethod=auto\n']],
  },
  {
    tool: 'NetworkManager',
    what: 'a profile without an ending, for any card',
    files: { ...NM, 'etc/NetworkManager/system-connections/Wired': profile.replace('interface-name=enp5s0\n', '') },
    outcome: 'moved',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, 'address1=192.0.2.5/24,192.0.2.1']],
  },
  {
    tool: 'NetworkManager',
    what: 'a profile that netplan made (`90-NM-….yaml`)',
    files: { ...NM, 'run/NetworkManager/system-connections/netplan-NM-1.nmconnection': profile },
    outcome: 'moved',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, 'address1=192.0.2.5/24,192.0.2.1']],
  },
  {
    tool: 'NetworkManager',
    what: 'two profiles, one with `autoconnect=false`',
    files: {
      ...NM,
      [PROFILE]: says('connection', 'autoconnect=false').replace('192.0.2.5', '192.0.2.9'),
      'etc/NetworkManager/system-connections/Zed.nmconnection': profile.replace('uuid=1', 'uuid=2'),
    },
    outcome: 'moved',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, 'address1=192.0.2.5/24,192.0.2.1']],
  },
  {
    tool: 'NetworkManager',
    what: 'two profiles',
    files: { ...NM, [PROFILE]: profile, ...other },
    outcome: 'refused',
    says: 'Office.nmconnection, /etc/NetworkManager/system-connections/Other: each may be the one',
  },
  {
    tool: 'NetworkManager',
    what: 'two profiles, of which the second is active',
    files: {
      ...NM,
      [PROFILE]: profile.replace('192.0.2.5', '192.0.2.9'),
      'etc/NetworkManager/system-connections/Other': profile.replace('uuid=1', 'uuid=2'),
      'run/NetworkManager/devices/2': '[device]\nconnection-uuid=21111111-2222-4333-8444-555555555555\n',
    },
    outcome: 'moved',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, 'address1=192.0.2.5/24,192.0.2.1']],
  },
  {
    tool: 'NetworkManager',
    what: 'a profile of another card’s (`[802-3-ethernet] mac-address=`)',
    files: {
      ...NM,
      [PROFILE]: `${profile.replace('interface-name=enp5s0\n', '')}\n[802-3-ethernet]\nmac-address=52:54:00:99:99:99\n`,
    },
    outcome: 'moved',
    says: 'IPv6: br0 gets another address than enp5s0 has',
    wrote: [[`etc/NetworkManager/system-connections/${BR0}`, '[ipv4]\nmethod=auto\n', '!192.0.2.5']],
  },
  {
    tool: 'NetworkManager',
    what: '`unmanaged-devices=`',
    files: { ...NM, 'etc/NetworkManager/conf.d/9.conf': '[keyfile]\nunmanaged-devices=*,except:type:wifi\n' },
    outcome: 'refused',
    says: 'nothing that is known here sets enp5s0 up',
  },
  {
    tool: 'NetworkManager',
    what: '`unmanaged-devices=driver:…`',
    files: { ...NM, 'etc/NetworkManager/conf.d/9.conf': '[keyfile]\nunmanaged-devices=driver:e1000e\n' },
    outcome: 'refused',
    says: 'may leave enp5s0 alone or not',
  },
  {
    tool: 'NetworkManager',
    what: '`no-auto-default=*` and no profile',
    files: { ...NM, 'etc/NetworkManager/NetworkManager.conf': '[main]\nno-auto-default=*\n' },
    outcome: 'refused',
    says: 'has no profile',
  },
  {
    tool: 'NetworkManager',
    what: '/etc/sysconfig/network-scripts',
    files: { ...NM, 'etc/sysconfig/network-scripts/ifcfg-lan': 'DEVICE=enp5s0\nONBOOT=yes\nIPADDR=192.0.2.5\n' },
    outcome: 'refused',
    says: '/etc/sysconfig/network-scripts/ifcfg-lan: sets enp5s0 up in the format of initscripts',
  },
]
