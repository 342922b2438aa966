import { readFileSync } from 'node:fs'
import { expectCode, expectSame } from '../expect.ts'
import type { Guest } from '../guest.ts'
import { grub, intel } from '../machines.ts'
import type { Scenario } from '../scenario.ts'
import { listing } from './bind-vfio.ts'
import { systemdDisk } from './tune-host.ts'

// The host's NIC A is on a cable with NIC B, which is a neighbour's: it hands out addresses, and pings.

const machine = { ...grub(intel, 'bios'), cpus: 2, cable: true }
const packages = ['dnsmasq-base', 'iputils-ping', 'isc-dhcp-client', 'ifupdown', 'netplan.io', 'network-manager']

const neighbour = `[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service sys-subsystem-net-devices-enp5s0.device
Wants=network-pre.target sys-subsystem-net-devices-enp5s0.device
Before=network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'ip netns add lan && ip link set enp5s0 netns lan && ip netns exec lan /usr/local/sbin/neighbour.sh enp5s0 /var/lib/neighbour'
[Install]
WantedBy=sysinit.target
`

interface Setup {
  path: string
  text: string
  services: string
  /** systemd-networkd is not root, and NetworkManager reads no profile that others may. */
  mode?: string
}

/** What each is set up with, and the services that go with it. */
const TOOLS: Record<string, Setup> = {
  networkd: {
    path: '/etc/systemd/network/20-wired.network',
    text: '[Match]\nName=enp4s0\n\n[Network]\nDHCP=yes\n',
    services: 'systemd-networkd',
  },
  netplan: {
    path: '/etc/netplan/01.yaml',
    text: 'network:\n  version: 2\n  ethernets:\n    lan:\n      match: {macaddress: "52:54:00:12:34:56"}\n      dhcp4: true\n      dhcp6: true\n',
    services: 'systemd-networkd',
  },
  ifupdown: {
    path: '/etc/network/interfaces',
    text: 'auto lo\niface lo inet loopback\nallow-hotplug enp4s0\niface enp4s0 inet dhcp\niface enp4s0 inet6 auto\n',
    services: 'networking',
  },
  NetworkManager: {
    path: '/etc/NetworkManager/system-connections/wired.nmconnection',
    text: '[connection]\nid=wired\nuuid=11111111-2222-4333-8444-555555555555\ntype=ethernet\ninterface-name=enp4s0\n\n[ipv4]\nmethod=auto\n\n[ipv6]\nmethod=auto\n',
    services: 'NetworkManager',
    mode: '600',
  },
}

const file = (path: string, text: string, mode: string): string =>
  `mkdir -p "$(dirname "$ROOT${path}")"; cat > "$ROOT${path}" <<'EOF'\n${text}EOF\nchmod ${mode} "$ROOT${path}"\n`

function prepared({ path, text, services, mode = '644' }: Setup): string {
  const scripts = ['neighbour.sh', 'look.sh'].map((name) =>
    file(`/usr/local/sbin/${name}`, readFileSync(`test/support/reach/${name}`, 'utf8'), '755'),
  )
  return `
rm -f "$ROOT"/etc/systemd/network/* "$ROOT"/etc/netplan/*
printf 'auto lo\\niface lo inet loopback\\n' > "$ROOT/etc/network/interfaces"
printf '[main]\\nno-auto-default=*\\n' > "$ROOT/etc/NetworkManager/NetworkManager.conf"
${scripts.join('')}${file('/etc/systemd/system/neighbour.service', neighbour, '644')}${file(path, text, mode)}
in_root systemctl -q disable systemd-networkd NetworkManager networking
in_root systemctl -q mask NetworkManager-wait-online
in_root systemctl -q enable neighbour ${services}`
}

/** What is in /etc, without what DHCP clients write. */
const etc = (stdout: string): string =>
  stdout
    .split('\n')
    .filter((line) => !/resolv\.conf/.test(line))
    .join('\n')

async function seen(guest: Guest): Promise<string> {
  const looked = await guest.run('/usr/local/sbin/look.sh enp4s0 /run/netns/lan /var/lib/neighbour 120', {
    seconds: 300,
  })
  expectCode('look.sh', looked, 0, /the neighbour reaches it at/)
  return looked.stdout
}

const reached = (tool: string, setup: Setup): Scenario => ({
  name: `bridge-${tool.toLowerCase()}`,
  about: `${tool}: the host has the same MAC, addresses, leases, routes and DNS with a bridge, and after its undo`,
  slow: true,
  async run(lab) {
    const { disk } = await systemdDisk(lab, packages)
    await disk.apply(`set up by ${tool}`, prepared(setup))
    const before = etc((await disk.apply('/etc listed', listing)).stdout)
    const first = await lab.start(machine, disk)
    const facts = await lab.step('reached, before', () => seen(first))
    lab.note(facts.trim().replaceAll('\n', ' | '))
    const tune = 'tune-host --bridge br0 --port enp4s0 --apply --force no-confirm'
    await lab.step(tune, async () => expectCode(tune, await first.run(tune, { seconds: 300 }), 0, /After the reboot/))
    await first.end()
    const second = await lab.start(machine, disk)
    await lab.step('reached as before, over the bridge', async () =>
      expectSame('host and neighbour', await seen(second), facts.replace('device enp4s0', 'device br0')),
    )
    await second.end()
    await disk.apply('undone', 'tune-host --root "$ROOT" --undo --apply')
    expectSame('/etc after the undo', etc((await disk.apply('/etc listed', listing)).stdout), before)
    const third = await lab.start(machine, disk)
    await lab.step('reached as before, over the card', async () =>
      expectSame('host and neighbour', await seen(third), facts),
    )
    await third.end()
  },
})

export const bridges: readonly Scenario[] = Object.entries(TOOLS).map(([tool, setup]) => reached(tool, setup))
