import { headComment } from '../change/settings.ts'
import type { PciDevice } from '../host/pci.ts'

/** The path of the boot script that binds by address, on the system and in every image alike. */
export const BOOT_SCRIPT = '/etc/vfio-scripts/override'

/**
 * Returns the line by which the boot script recognizes a function: its address, vendor, device, subsystem (`1462:397d`;
 * `-` where it has none), and its folder in sysfs, which names every port above it.
 */
export function bootScriptFunction({ address, vendor, device, subsystem, path }: PciDevice): string {
  const board = subsystem === null ? '-' : `${subsystem.vendor}:${subsystem.device}`
  return `${address} ${vendor.id} ${device.id} ${board} ${path}`
}

/**
 * Returns the body of the boot script in POSIX shell, as dash and busybox have it (whose modprobe knows no -i). Other
 * programs it needs: readlink and modprobe. `functions`: a shell command that prints lines of `bootScriptFunction`.
 * A function that is not what it was keeps its card and its IOMMU group with the host: of the group that a missing one was
 * in, the port above it tells. Numbers of groups may change from boot to boot, and so they are compared within one.
 * It loads vfio-pci first: with `module_blacklist=vfio_pci` an override alone would leave devices without a driver.
 * In images of initramfs-tools MODPROBE_OPTIONS is -qb: `blacklist vfio-pci` would keep the module from being loaded.
 * Source: Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe), Documentation/ABI/testing/dev-kmsg.
 */
export function bootScriptProgram(functions: string): string {
  return `pci=/sys/bus/pci

log() {
  echo "vfio-scripts: $*" >/dev/kmsg
}

functions() {
  ${functions}
}

# driver ADDRESS: who has it
driver() {
  link=$(readlink "$pci/devices/$1/driver") || link=none
  echo "\${link##*/}"
}

read -r line </proc/cmdline
case " $line " in
  *' vfio_scripts.override=off '*)
    log 'skipped: vfio_scripts.override=off'
    exit 0
    ;;
esac

# group ADDRESS: its IOMMU group; its address where it has none
group() {
  link=$(readlink "$pci/devices/$1/iommu_group") || link=$1
  echo "\${link##*/}"
}

# The cards and groups of functions that are not what they were, now and by the port that they were below.
kept=$(functions | while read -r address vendor device subsystem path; do
  at=$pci/devices/$address
  now='not there'
  if [ -e "$at" ]; then
    read -r now_vendor <"$at/vendor"
    read -r now_device <"$at/device"
    now_subsystem=-
    if [ -e "$at/subsystem_vendor" ]; then
      read -r one <"$at/subsystem_vendor"
      read -r two <"$at/subsystem_device"
      now_subsystem=\${one#0x}:\${two#0x}
    fi
    now="\${now_vendor#0x} \${now_device#0x} $now_subsystem $(readlink -f "$at")"
    if [ "$now" = "$vendor $device $subsystem $path" ]; then
      continue
    fi
    now="$now, not $vendor $device $subsystem $path"
  fi
  log "nothing is taken: $address is $now"
  port=$path
  while [ "$port" != "\${port%/*}" ]; do
    port=\${port%/*}
    if [ -e "$pci/devices/\${port##*/}" ]; then
      break
    fi
  done
  echo " =$address \${address%.*} $(group "$address") $(group "\${port##*/}") "
done)

taken=$(functions | while read -r address rest; do
  case "$kept" in
    (*" =$address "*) ;;
    (*" \${address%.*} "* | *" $(group "$address") "*)
      log "$address is not taken: one of its card or IOMMU group is not what it was"
      ;;
    (*) echo "$address" ;;
  esac
done)
if [ -z "$taken" ]; then
  exit 0
fi

unset MODPROBE_OPTIONS
/sbin/modprobe vfio-pci 2>/dev/null || modprobe vfio-pci
if ! [ -e "$pci/drivers/vfio-pci" ]; then
  log 'nothing is taken: there is no vfio-pci'
  exit 0
fi

for address in $taken; do
  at=$pci/devices/$address
  echo vfio-pci >"$at/driver_override"
  if [ -e "$at/driver" ] && [ "$(driver "$address")" != vfio-pci ]; then
    echo "$address" >"$at/driver/unbind"
  fi
  echo "$address" >"$pci/drivers_probe"
  if [ "$(driver "$address")" = vfio-pci ]; then
    log "$address is on vfio-pci"
  else
    log "$address was not taken: $(driver "$address") has it; the host may use it"
    echo >"$at/driver_override"
    echo "$address" >"$pci/drivers_probe"
  fi
done
exit 0
`
}

/** The file of the boot script without the lines of the functions, which follow at its end. */
export const BOOT_SCRIPT_HEAD = `#!/bin/sh
${headComment()}# Gives the PCI functions listed at the end to vfio-pci before any host driver can take them, if each is what it was: if
# one is not, none of its card or IOMMU group is taken. vfio_scripts.override=off on the kernel command line skips this for one boot.
self=${BOOT_SCRIPT}
${bootScriptProgram(`while read -r mark function; do
    if [ "$mark" = '#=' ]; then
      echo "$function"
    fi
  done <"$self"`)}`

/**
 * The systemd unit that runs the boot script, without its ExecStart=. An unbind that never ends must not stop the boot.
 * Source: bootup(7), systemd.service(5).
 */
export const BOOT_SCRIPT_UNIT = `${headComment()}[Unit]
Description=Give PCI functions to vfio-pci before host drivers take them
DefaultDependencies=no
Before=systemd-udevd.service systemd-udev-trigger.service systemd-modules-load.service

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=60
`
