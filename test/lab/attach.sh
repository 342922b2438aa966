#!/bin/bash
# attach.sh IMAGE SCRIPT: runs SCRIPT with the third partition of a disk image mounted at $ROOT.
# To be started in a private mount namespace (unshare --mount). Needs $ROOT, $START and $SIZE (sectors), $KERNEL, $ESP
# (as mtools names a file system in a file).
#
# grub-probe has to see the disk under the names that it has in the guest: update-grub with a root on /dev/loopN says
# "done" and writes no Linux entry. So this namespace gets a /dev of its own in which the loop device is vda. The kernel
# of this machine may know neither GPT nor VFAT: addpart(8) tells it where the partition is.
set -euo pipefail
image=$1
script=$2

loop=$(losetup --find --show --partscan "$image")
release() {
  cd /
  umount -R "$ROOT" 2>/dev/null || :
  rmdir "$ROOT" 2>/dev/null || :
  losetup --detach "$loop" 2>/dev/null || :
}
trap release EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# A kernel that does know GPT looks at it meanwhile, and takes away what is there before it puts its own: twice in a row
# is there to stay.
seen=0
for try in {1..100}; do
  if [ -b "${loop}p3" ]; then
    seen=$((seen + 1))
    if [ "$seen" = 2 ]; then break; fi
  else
    seen=0
    if [ "$try" = 10 ]; then partx --delete "$loop" 2>/dev/null || :; fi
    if [ $((try % 5)) = 0 ]; then addpart "$loop" 3 "$START" "$SIZE" 2>/dev/null || :; fi
  fi
  sleep 0.1
done

mkdir -p "$ROOT"
dev=$ROOT
mount -t tmpfs -o mode=755 dev "$dev"
character() { mknod -m 666 "$dev/$1" c "$2" "$3"; }
character null 1 3; character zero 1 5; character full 1 7
character random 1 8; character urandom 1 9; character tty 5 0
block() { mknod -m 600 "$dev/$1" b "$((0x$(stat -c %t "$2")))" "$((0x$(stat -c %T "$2")))"; }
block vda "$loop"
block vda3 "${loop}p3"
block "${loop#/dev/}" "$loop"
mkdir -p "$dev/disk/by-uuid" "$dev/shm" "$dev/pts"
ln -s ../../vda3 "$dev/disk/by-uuid/$(blkid -p -s UUID -o value "${loop}p3")"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"
mount --move "$dev" /dev

mount -t ext4 /dev/vda3 "$ROOT"
losetup --detach "$loop" # takes effect with the last user, so that even a killed run leaves no device behind
mount --bind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
mount -t sysfs -o ro sysfs "$ROOT/sys"
mount -t tmpfs tmpfs "$ROOT/run"
mount -t tmpfs tmpfs "$ROOT/tmp"

in_root() { chroot "$ROOT" /usr/bin/env -i ${SYSTEMD_RELAX_ESP_CHECKS+SYSTEMD_RELAX_ESP_CHECKS=1} PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root TERM=dumb "$@"; }
export -f in_root
export ROOT KERNEL

# An ESP that the system mounts is there as a folder: this kernel may know no VFAT, and mtools write it back.
efi=
if grep -q ' /boot/efi vfat ' "$ROOT/etc/fstab"; then
  efi=$ROOT/boot/efi
  mount -t tmpfs -o mode=700 efi "$efi"
  mcopy -s -n -m -i "$ESP" '::*' "$efi/"
  export SYSTEMD_RELAX_ESP_CHECKS=1
fi
files() { [ -z "$efi" ] || (cd "$efi" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum); }
before=$(files)
code=0
bash -e -o pipefail -c "$script" </dev/null || code=$?
if [ "$before" != "$(files)" ]; then
  for name in $(mdir -b -i "$ESP" ::); do mdeltree -i "$ESP" "${name%/}"; done
  mcopy -s -n -m -i "$ESP" "$efi"/* ::
fi
exit "$code"
