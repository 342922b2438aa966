#!/bin/bash
# Boots the network of a host in namespaces of its own, with the host's real programs and a neighbour on the other end of
# a cable: DHCP and router advertisements by dnsmasq. Prints what the host and the neighbour see of each other.
#   boot.sh TOOL ROOT STATE     TOOL: ifupdown, networkd, netplan or NetworkManager
# ROOT/etc is what the host is set up with; STATE keeps the leases of both sides from boot to boot. Nothing outside the
# namespaces is changed but STATE.
set -eu
if [ -z "${REACH_INSIDE:-}" ]; then
  REACH_INSIDE=1 exec unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$@"
fi
tool=$1 root=$2 state=$3
card=enp5s0 mac=${REACH_MAC:-52:54:00:12:34:56}
mkdir -p "$state"/{dhcp,NetworkManager,lan}
state=$(realpath "$state") root=$(realpath "$root")

# Folders of its own, where the programs look.
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/{up,work,run}
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/up,workdir=/mnt/work overlay /etc
rm -rf /etc/{network,systemd/network,netplan,NetworkManager,resolv.conf,cloud}
for part in network systemd/network netplan NetworkManager resolv.conf dhcp/dhclient.conf; do
  if [ -e "$root/etc/$part" ]; then
    mkdir -p "/etc/${part%/*}" "/etc/$(dirname "$part")"
    rm -rf "/etc/$part"
    cp -a "$root/etc/$part" "/etc/$part"
  fi
done
[ -e /etc/resolv.conf ] || : >/etc/resolv.conf
mkdir -p /etc/network/if-{pre-up,up,down,post-down}.d /etc/NetworkManager
mkdir -p /var/lib/dhcp /var/lib/NetworkManager
mount --bind "$state/dhcp" /var/lib/dhcp
mount --bind "$state/NetworkManager" /var/lib/NetworkManager
mount -t tmpfs tmpfs /run
mkdir -p /run/{lock,network,dbus} /run/udev/rules.d /run/systemd/netif/{links,leases,lldp}
for part in systemd/network NetworkManager; do
  if [ -e "$root/run/$part" ]; then mkdir -p "/run/${part%/*}"; cp -a "$root/run/$part" "/run/$part"; fi
done
chown -R systemd-network: /run/systemd/netif 2>/dev/null || true
mount -t sysfs sysfs /sys
ip link set lo up
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0

# The cable, and the neighbour.
unshare --net sleep infinity &
lan=$!
while [ "$(readlink /proc/$lan/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
in_lan() { nsenter --target $lan --net "$@"; }
ip link add "$card" address "$mac" type veth peer name lan0 address 52:54:00:00:00:01
ip link set lan0 netns $lan
in_lan ip link set lo up
in_lan ip addr add 192.0.2.1/24 dev lan0
in_lan ip addr add 2001:db8::1/64 dev lan0 nodad
in_lan ip link set lan0 up
in_lan sysctl -q -w net.ipv6.conf.all.forwarding=1
in_lan dnsmasq --conf-file=/dev/null --pid-file= --user=root --port=0 --interface=lan0 --bind-dynamic \
  --dhcp-leasefile="$state/lan/leases" --dhcp-range=192.0.2.100,192.0.2.199,1h --dhcp-authoritative \
  --dhcp-option=option:router,192.0.2.1 --dhcp-option=option:dns-server,192.0.2.53 \
  --dhcp-range=2001:db8::1000,2001:db8::1fff,slaac,64,1h --enable-ra --ra-param=lan0,4,1800 \
  --dhcp-option=option6:dns-server,[2001:db8::53] --log-facility="$state/lan/log" --log-dhcp

log=$state/$tool.log
: >"$log"
# A generator of systemd runs before udev.
if [ "$tool" = netplan ]; then
  netplan generate >>"$log" 2>&1 || echo "netplan failed: $(tail -n 3 "$log" | tr '\n' ' ')"
fi

# udev names the card as it does one in a slot; NetworkManager leaves veth alone, unless told.
printf 'SUBSYSTEM=="net", KERNEL=="%s", ENV{ID_NET_NAME_PATH}="%s", ENV{NM_UNMANAGED}="0"\n' "$card" "$card" \
  >/run/udev/rules.d/90-card.rules
/lib/systemd/systemd-udevd --daemon >>"$log" 2>&1
udevadm trigger --action=add --subsystem-match=net
udevadm settle --timeout=10

start_networkd() { SYSTEMD_LOG_LEVEL=${REACH_LOG:-info} /lib/systemd/systemd-networkd >>"$log" 2>&1 & }
start_manager() {
  dbus-daemon --system --fork --nopidfile >>"$log" 2>&1
  NetworkManager --debug --log-level=INFO >>"$log" 2>&1 &
}
case $tool in
  ifupdown)
    ifup -v -a >>"$log" 2>&1 || echo "ifup failed: $(tail -n 3 "$log" | tr '\n' ' ')"
    for one in $(ls /sys/class/net); do ifup -v --allow=hotplug "$one" >>"$log" 2>&1 || true; done
    ;;
  networkd) start_networkd ;;
  NetworkManager) start_manager ;;
  netplan)
    if [ -e /run/NetworkManager/system-connections ]; then start_manager; fi
    if ls /run/systemd/network/*.network >/dev/null 2>&1; then start_networkd; fi
    ;;
  none) ;;
esac

# The host is there when its default route is, and both addresses; else it is not, which is said below.
device() { ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1; }
six() { ip -o -6 addr show scope global | grep -v tentative | grep -q . && ip -6 route show default | grep -q .; }
for _ in $(seq 1 "${REACH_WAIT:-60}"); do
  [ -n "$(device)" ] && { [ -n "${REACH_NO_IPV6:-}" ] || six; } && break
  sleep 0.25
done
sleep "${REACH_SETTLE:-1}"
dev=$(device)
four=$(ip -o -4 addr show scope global | awk '{ sub("/.*", "", $4); print $4 }' | head -n 1)
same() { sed -E "s/\b${dev:-none}\b/CARD/g; s/ (expires|proto|metric|pref|src|linkdown|mtu) ?[^ ]*//g; s/ +$//; s/ +/ /g" | sort -u; }
echo "device ${dev:-none}"
echo "mac $(cat "/sys/class/net/${dev:-none}/address" 2>/dev/null)"
echo "mtu $(cat "/sys/class/net/${dev:-none}/mtu" 2>/dev/null), card $(cat "/sys/class/net/$card/mtu")"
ip -o addr show scope global | awk '{ print "address", $4, "on", $2 }' | same
ip -o -6 addr show dev "${dev:-lo}" scope link | awk '{ print "link-local", $4 }'
ip -4 route | sed 's/^/route /' | same
ip -6 route | grep -v "dev $card.*fe80\|^fe80" | sed 's/^/route6 /' | same
{ grep -h '^nameserver' /etc/resolv.conf /run/NetworkManager/resolv.conf 2>/dev/null || true
  sed -n 's/^DNS=\(.\+\)/\1/p' /run/systemd/netif/links/* 2>/dev/null | tr ' ' '\n' | sed 's/^/nameserver /'; } | sort -u
cut -d' ' -f2- "$state/lan/leases" 2>/dev/null | sed 's/^/lease /' || true
if [ -n "$four" ] && in_lan ping -q -c 1 -W 3 "$four" >/dev/null 2>&1; then
  echo "the neighbour reaches it at $four, $(in_lan ip neigh show "$four" | sed -n 's/.*lladdr \([^ ]*\).*/\1/p')"
else
  echo "the neighbour does not reach it"
fi
if ping -q -c 1 -W 3 192.0.2.1 >/dev/null 2>&1; then echo "it reaches the neighbour"; else echo "it reaches nobody"; fi
if ping -q -c 1 -W 3 2001:db8::1 >/dev/null 2>&1; then echo "and over IPv6"; else echo "not over IPv6"; fi
