import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'

// The same network, as each program that sets networks up has it.

export const MAC = '52:54:00:12:34:56'

export const IFUP = { 'sbin/ifup': '#!/bin/sh\n' }
export const NETWORKD = { 'etc/systemd/system/multi-user.target.wants/systemd-networkd.service': '' }
export const NM = { 'etc/systemd/system/multi-user.target.wants/NetworkManager.service': '' }
export const NETIFRC = { 'etc/init.d/net.lo': '#!/sbin/openrc-run\n', 'etc/runlevels/default/x': '' }
export const NETPLAN = { 'usr/sbin/netplan': '#!/bin/sh\n' }

export const interfaces = `# mine
source /etc/network/interfaces.d/*
auto lo enp5s0
iface lo inet loopback

allow-hotplug enp5s0 enp6s0
iface enp5s0 inet static
    address 192.0.2.5/24
    gateway 192.0.2.1
    dns-nameservers 192.0.2.1 # both
iface enp5s0 inet6 auto
iface enp6s0 inet dhcp
`
export const wired = `# by hand
[Match]
Name=en*

[Link]
MTUBytes=9000

[Network]
Address=192.0.2.5/24
DNS=192.0.2.1

[Route]
Gateway=192.0.2.1
`
export const yaml = `# by the installer
network:
  version: 2
  renderer: networkd
  ethernets:
    # the first
    enp5s0:
      mtu: 9000
      addresses:
        - 192.0.2.5/24
      routes:
        - to: default
          via: 192.0.2.1
      nameservers:
        addresses: [192.0.2.1]
      match:
        macaddress: ${MAC}
      set-name: enp5s0

    enp6s0:
      dhcp4: true
`
export const profile = `[connection]
id=Office
uuid=11111111-2222-4333-8444-555555555555
type=ethernet
interface-name=enp5s0

[ipv4]
address1=192.0.2.5/24,192.0.2.1
dns=192.0.2.1;
method=manual

[ipv6]
method=auto
`
export const net = `# /etc/conf.d/net
config_enp5s0="192.0.2.5/24"
routes_enp5s0="default via 192.0.2.1"
dns_servers_enp5s0="192.0.2.1"
config_enp6s0="dhcp"
`

const places = (dir: string, name: string): [link: string, level: string] => [
  join(dir, `etc/init.d/net.${name}`),
  join(dir, `etc/runlevels/default/net.${name}`),
]

/** What ln and rc-update do for an interface of netifrc. */
export function startServices(dir: string, name: string): void {
  const [link, level] = places(dir, name)
  mkdirSync(join(dir, 'etc/runlevels/default'), { recursive: true })
  symlinkSync('net.lo', link)
  symlinkSync(`/etc/init.d/net.${name}`, level)
}

/** And what rc-update and rm do. */
export function stopServices(dir: string, name: string): void {
  for (const path of places(dir, name)) rmSync(path)
}
