#!/bin/sh
# The guest one, run by QEMU without libvirt. Its state is in ~/.local/state/vfio-scripts/one.
# For a user of the group kvm (else root), once: tune-host --vfio-group kvm --memory 1024M --apply
# which is this rule for udev, and this limit:
#   SUBSYSTEM=="vfio", GROUP="kvm", MODE="0660"
#   @kvm - memlock 2097152
# The monitor: socat - UNIX-CONNECT:"$dir/monitor.sock"
set -eu
dir=${XDG_STATE_HOME:-$HOME/.local/state}/vfio-scripts/one
mkdir -p "$dir"
[ -e "$dir/vars.fd" ] || cp /usr/share/OVMF/OVMF_VARS_4M.fd "$dir/vars.fd"
exec "${QEMU:-qemu-system-x86_64}" \
  -name one,debug-threads=on \
  -nodefaults -no-user-config \
  -machine q35,accel=kvm,vmport=off,hpet=off \
  -cpu host,migratable=off,host-phys-bits-limit=39,hv_relaxed,hv_vapic,hv_spinlocks=0x1fff,hv_vpindex,hv_runtime,hv_synic,hv_stimer,hv_frequencies,hv_tlbflush,hv_ipi,hv_time,topoext=on \
  -smp 4,sockets=1,dies=1,cores=2,threads=2 \
  -m 1024M \
  -rtc base=localtime,driftfix=slew \
  -global kvm-pit.lost_tick_policy=delay \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
  -drive if=pflash,format=raw,file="$dir"/vars.fd \
  -drive if=none,id=disk0,file=/var/lib/libvirt/images/guest.qcow2,format=qcow2,discard=unmap \
  -device virtio-blk-pci,drive=disk0,bootindex=1 \
  -drive if=none,id=cd0,file=/var/lib/libvirt/images/windows.iso,format=raw,media=cdrom,readonly=on \
  -device ide-cd,bus=ide.0,drive=cd0,bootindex=2 \
  -drive if=none,id=cd1,file=/var/lib/libvirt/images/virtio-win.iso,format=raw,media=cdrom,readonly=on \
  -device ide-cd,bus=ide.1,drive=cd1 \
  -netdev user,id=net0 \
  -device virtio-net-pci,netdev=net0 \
  -device pcie-root-port,id=card0,bus=pcie.0,chassis=1 \
  -device vfio-pci,host=0000:02:00.0,bus=card0,addr=0x0.0,multifunction=on \
  -device vfio-pci,host=0000:02:00.1,bus=card0,addr=0x0.1 \
  -device qemu-xhci \
  -device qxl-vga \
  -device usb-tablet \
  -spice unix=on,addr="$dir"/spice.sock,disable-ticketing=on \
  -audiodev spice,id=sound \
  -device ich9-intel-hda \
  -device hda-duplex,audiodev=sound \
  -monitor unix:"$dir"/monitor.sock,server=on,wait=off \
  "$@"
