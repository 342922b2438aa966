#!/bin/sh
# Makes the root of a current Debian (trixie) with its libvirt, QEMU and OVMF, of Debian's own packages, where the tests
# look for it. Does nothing where there is one. Needs root and mmdebstrap.
set -eu
suite=trixie
root=${VFIO_LIBVIRT_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/vfio-scripts-libvirt}
[ -x "$root/usr/sbin/libvirtd" ] && exit 0
# Where this machine itself gets Debian's packages: apt-get(8), indextargets.
mirror=$(apt-get indextargets --format '$(LABEL) $(SITE)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1)
part=$root.part
rm -rf "$part"
mkdir -p "$(dirname "$root")"
unshare --mount --propagation private mmdebstrap --mode=root --variant=minbase --format=directory \
  --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include=libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-daemon-driver-network,libvirt-clients \
  --include=qemu-system-x86,qemu-system-modules-spice,qemu-utils,ovmf,swtpm,swtpm-tools,virtiofsd,dnsmasq-base,iproute2 \
  "$suite" "$part" "deb $mirror $suite main"
mv "$part" "$root"
