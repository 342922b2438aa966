#!/bin/bash
# The other end of the cable, in a network namespace of its own: DHCP, DHCPv6, router advertisements.
#   neighbour.sh INTERFACE STATE     STATE keeps its leases
set -eu
interface=$1 state=$2
mkdir -p "$state"
ip link set lo up
ip link set "$interface" address 52:54:00:00:00:01
ip addr add 192.0.2.1/24 dev "$interface"
ip addr add 2001:db8::1/64 dev "$interface" nodad
ip link set "$interface" up
# What is reached through a VLAN of the cable, where the kernel has those.
if ip link add link "$interface" name vlan3000 type vlan id 3000 2>/dev/null; then
  ip addr add 10.0.0.1/24 dev vlan3000
  ip addr add 2001:db8:1::1/64 dev vlan3000 nodad
  ip link set vlan3000 up
fi
sysctl -q -w net.ipv6.conf.all.forwarding=1
dnsmasq --conf-file=/dev/null --pid-file= --user=root --port=0 --interface="$interface" --bind-dynamic \
  --dhcp-leasefile="$state/leases" --dhcp-range=192.0.2.100,192.0.2.199,1h --dhcp-authoritative \
  --dhcp-option=option:router,192.0.2.1 --dhcp-option=option:dns-server,192.0.2.53 \
  --dhcp-range=2001:db8::1000,2001:db8::1fff,slaac,64,1h --enable-ra --ra-param="$interface",4,1800 \
  --dhcp-option=option6:dns-server,[2001:db8::53] --log-facility="$state/log" --log-dhcp
