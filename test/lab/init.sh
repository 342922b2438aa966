#!/bin/bash
# PID 1 of every guest: a real kernel, real udev with the root's own modprobe.d, no services. Where a scenario needs these,
# systemd is PID 1 and this is one of them.
# Then it obeys the lab, one line on the console each:
#   run SECONDS   unpack the payload disk, run its ./run, send stdout, stderr, code and files back as a tar
#   shell         a shell on the console
#   end N         leave QEMU with N through its isa-debug-exit device
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mountpoint -q /run || mount -t tmpfs tmpfs /run
mountpoint -q /tmp || mount -t tmpfs tmpfs /tmp
mount -o remount,rw /
if grep -q ' /boot/efi vfat ' /etc/fstab; then
  mountpoint -q /sys/firmware/efi/efivars || mount -t efivarfs efivarfs /sys/firmware/efi/efivars
  mountpoint -q /boot/efi || mount /boot/efi
fi
mkdir -p /dev/pts /dev/shm
mountpoint -q /dev/pts || mount -t devpts devpts /dev/pts
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
echo "LAB kernel up after $(cut -d' ' -f1 /proc/uptime) s"

if [ $$ = 1 ]; then
  /lib/systemd/systemd-udevd --daemon
  udevadm trigger --type=subsystems --action=add
  udevadm trigger --type=devices --action=add
fi
modprobe -q virtio_console
if ! udevadm settle -t 120; then
  # why: who died, and who waits for what
  dmesg | grep -m 1 -A 40 'BUG: \|Oops: '
  ps -eo pid,stat,wchan:30,args | grep ' D'
fi
dmesg -n 1
echo "LAB ready after $(cut -d' ' -f1 /proc/uptime) s"

payload=/dev/disk/by-id/virtio-lab-payload
while read -r verb argument; do
  case $verb in
    run)
      blockdev --flushbufs $payload
      rm -rf /tmp/lab
      mkdir -p /tmp/lab/out
      cd /tmp/lab || exit
      tar -xf $payload
      PATH=/tmp/lab/bin:$PATH timeout -k 5 "$argument" bash ./run >out/stdout 2>out/stderr </dev/null
      echo $? >out/code
      tar -cf result.tar out
      cat result.tar >/dev/virtio-ports/lab.results
      echo "LAB done $(stat -c %s result.tar)"
      cd /
      ;;
    shell)
      setsid --ctty --wait bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
      echo 'LAB shell ended'
      ;;
    end)
      sync
      echo u >/proc/sysrq-trigger
      printf '%b' "\\x$(printf %02x "$argument")" | dd of=/dev/port bs=1 seek=244 count=1 status=none
      ;;
  esac
done
echo o >/proc/sysrq-trigger
sleep 100
