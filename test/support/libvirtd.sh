#!/bin/sh
# A libvirtd of the system in ROOT that sees nothing of this machine and changes nothing on it. Runs in new mount,
# network and PID namespaces (unshare); all that it writes goes to a file system in memory over WORK, laid over ROOT.
#   libvirtd.sh ROOT WORK
set -eu
lower=$1 work=$2
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/upper" "$work/overlay" "$work/root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper,workdir=$work/overlay" "$work/root"
root=$work/root

mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/tmp"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts" "$root/dev/net"
mount -t devpts -o ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
# No /dev/kvm: every machine emulates then.
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/net/tun" c 10 200
# By these libvirt believes that the host passes devices on, and writes QEMU's arguments for them.
mkdir "$root/dev/vfio"
mknod -m 666 "$root/dev/vfio/vfio" c 10 196
if [ -d "$root/sys/kernel/iommu_groups" ]; then
  mount -t tmpfs tmpfs "$root/sys/kernel/iommu_groups"
  mkdir "$root/sys/kernel/iommu_groups/0"
fi
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/libvirt" "$root/run/lock" "$root/var/lib/libvirt/images" "$root/var/log/libvirt"

# What the guests of the tests are plugged into.
ip link set lo up
ip link add br0 type bridge
ip link add enp4s0 type veth peer name switch
ip tuntap add tap0 mode tap
for name in br0 enp4s0 switch; do ip link set "$name" up; done

mkdir -p "$root/etc/libvirt/qemu/networks"
rm -rf "$root/etc/libvirt/qemu/networks/autostart"
# Without a forward mode that asks for a firewall.
cat >"$root/etc/libvirt/qemu/networks/default.xml" <<XML
<network><name>default</name><forward mode='open'/><bridge name='virbr0'/><ip address='192.168.122.1' netmask='255.255.255.0'/></network>
XML
cat >"$root/etc/libvirt/qemu.conf" <<CONF
stdio_handler = "file"
security_driver = "none"
user = "root"
group = "root"
swtpm_user = "root"
swtpm_group = "root"
namespaces = []
cgroup_controllers = []
remember_owner = 0
CONF
printf 'auth_unix_rw = "none"\nunix_sock_group = "root"\n' >"$root/etc/libvirt/libvirtd.conf"
# Not the first process itself, which has to wait for what others leave behind.
chroot "$root" /usr/sbin/libvirtd &
wait $!
