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

functions | {
  while read -r address vendor device subsystem path; do
    at=$pci/devices/$address
    if ! [ -e "$at" ]; then
      log "nothing is taken: $address is not there"
      exit 1
    fi
    read -r now_vendor <"$at/vendor"
    read -r now_device <"$at/device"
    now_subsystem=-
    if [ -e "$at/subsystem_vendor" ]; then
      read -r one <"$at/subsystem_vendor"
      read -r two <"$at/subsystem_device"
      now_subsystem=\${one#0x}:\${two#0x}
    fi
    now="\${now_vendor#0x} \${now_device#0x} $now_subsystem $(readlink -f "$at")"
    if [ "$now" != "$vendor $device $subsystem $path" ]; then
      log "nothing is taken: $address is $now, not $vendor $device $subsystem $path"
      exit 1
    fi
  done
} || exit 0

unset MODPROBE_OPTIONS
/sbin/modprobe vfio-pci 2>/dev/null || modprobe vfio-pci
if ! [ -e "$pci/drivers/vfio-pci" ]; then
  log 'nothing is taken: there is no vfio-pci'
  exit 0
fi

functions | while read -r address rest; do
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
# one is not, none is taken. vfio_scripts.override=off on the kernel command line skips this for one boot.
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
