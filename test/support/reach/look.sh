#!/bin/bash
# What a host and its neighbour see of each other, a line each: the interface with the addresses first, CARD below.
#   look.sh CARD NAMESPACE STATE [SECONDS]     NAMESPACE: the neighbour's, as a file; STATE: where its leases are
set -eu
card=$1 lan=$2 state=$3 seconds=${4:-15}
in_lan() { nsenter --net="$lan" "$@"; }
# The host is there when its default routes are, and an address of each family; else it is not, which is said below.
device() { { ip route show default; ip -6 route show default; } | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1; }
ipv4() { ip -o -4 addr show scope global | grep -q . && ip -4 route show default | grep -q .; }
ipv6() { ip -o -6 addr show scope global | grep -v tentative | grep -q . && ip -6 route show default | grep -q .; }
for _ in $(seq 1 $((seconds * 4))); do
  ipv4 && ipv6 && break
  sleep 0.25
done
sleep 1
dev=$(device)
four=$(ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4 }' | head -n 1)
same() { sed -E "s/\b${dev:-none}\b/CARD/g; s/ (expires|proto|metric|pref|src|linkdown|mtu) ?[^ ]*//g; s/ +$//; s/ +/ /g" | sort -u; }
echo "device ${dev:-none}"
echo "mac $(cat "/sys/class/net/${dev:-none}/address" 2>/dev/null)"
echo "mtu $(cat "/sys/class/net/${dev:-none}/mtu" 2>/dev/null), card $(cat "/sys/class/net/$card/mtu")"
ip -o addr show scope global | awk '{ print "address", $4, "on", $2 }' | same
ip -o -6 addr show dev "${dev:-lo}" scope link | awk '{ print "link-local", $4 }'
ip -4 route | sed 's/^/route /' | same
ip -6 route | grep -v "^fe80" | sed 's/^/route6 /' | same
{ grep -h '^nameserver' /etc/resolv.conf /run/NetworkManager/resolv.conf 2>/dev/null || true
  sed -n 's/^DNS=\(.\+\)/\1/p' /run/systemd/netif/links/* 2>/dev/null | tr ' ' '\n' | sed 's/^/nameserver /'; } | sort -u
cut -d' ' -f2- "$state/leases" 2>/dev/null | sed 's/^/lease /' | sort || true
if [ -n "$four" ] && in_lan ping -q -c 1 -W 3 "$four" >/dev/null 2>&1; then
  echo "the neighbour reaches it at $four, $(in_lan ip neigh show "$four" | sed -n 's/.*lladdr \([^ ]*\).*/\1/p')"
else
  echo "the neighbour does not reach it"
fi
if ping -q -c 1 -W 3 192.0.2.1 >/dev/null 2>&1; then echo "it reaches the neighbour"; else echo "it reaches nobody"; fi
if ping -q -c 1 -W 3 2001:db8::1 >/dev/null 2>&1; then echo "and over IPv6"; else echo "not over IPv6"; fi
