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
here=$(cd "$(dirname "$0")" && pwd)
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
  if [ -e "$root/run/$part" ]; then mkdir -p "/run/$(dirname "$part")"; cp -a "$root/run/$part" "/run/$part"; fi
done
chown -R systemd-network: /run/systemd/netif 2>/dev/null || true
mount -t sysfs sysfs /sys
ip link set lo up
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0

# The cable, and the neighbour.
unshare --net sleep infinity &
lan=$!
while [ "$(readlink /proc/$lan/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add "$card" address "$mac" type veth peer name lan0
ip link set lan0 netns $lan
nsenter --target $lan --net "$here/neighbour.sh" lan0 "$state/lan"

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
esac

"$here/look.sh" "$card" /proc/$lan/ns/net "$state/lan" "${REACH_WAIT:-15}"
