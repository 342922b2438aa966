import { headComment } from '../change/settings.ts'
import type { PciDevice } from '../host/pci.ts'
import { VF_SCRIPT, type WantedFunctions } from '../host/wanted-functions.ts'
import { bootScriptFunction } from './boot-script.ts'

/** The start of the name of the unit that makes virtual functions. */
const VF_UNIT_NAME = 'vfio-scripts-virtual-functions@'
export const VF_UNIT_PATH = `/etc/systemd/system/${VF_UNIT_NAME}.service`

/** Returns the name of the unit that makes the virtual functions of a physical one. */
export function vfUnit(address: string): string {
  return `${VF_UNIT_NAME}${address}.service`
}

/** Returns the line by which a physical function is known, and what is wanted of it. */
export function vfRecord(device: PciDevice, { count, driver, words }: WantedFunctions): string {
  return ['#=', bootScriptFunction(device), count, driver, ...words].join(' ')
}

/**
 * The program without the lines of the physical functions, which follow at its end; POSIX shell. New functions come
 * without a driver (autoprobe is off and restored), so that no host driver has them before MAC and VLAN are set.
 * Source: Documentation/ABI/testing/sysfs-bus-pci, drivers/pci/iov.c, ip-link(8).
 */
export const VF_SCRIPT_HEAD = `#!/bin/sh
${headComment('tune-host')}# virtual-functions ADDRESS: makes the virtual functions (SR-IOV) of a physical function, as its line at the end says.
self=${VF_SCRIPT}
pci=/sys/bus/pci
address=$1
at=$pci/devices/$address

say() {
  echo "vfio-scripts: $address: $*" >&2
}

fail() {
  say "$@"
  exit 1
}

# driver ADDRESS: who has it; nothing where nobody has
driver() {
  link=$(readlink "$pci/devices/$1/driver") && echo "\${link##*/}"
}

# held ADDRESS: what keeps a virtual function; nothing where it is free
held() {
  holder=$(driver "$1")
  case $holder in
    '') ;;
    *vfio*)
      nodes=$(readlink "$pci/devices/$1/iommu_group")
      nodes="\${nodes##*/}"
      for node in "$pci/devices/$1"/vfio-dev/*; do
        nodes="$nodes|devices/\${node##*/}"
      done
      if ls -l /proc/[0-9]*/fd 2>/dev/null | grep -qE " -> /dev/vfio/(noiommu-)?($nodes)$"; then
        echo 'a guest or another process has it open'
      fi
      ;;
    *)
      seen=
      for interface in "$pci/devices/$1"/net/*; do
        if [ -e "$interface/flags" ]; then
          read -r flags <"$interface/flags"
          seen=yes
          if [ $((flags & 1)) = 1 ]; then
            echo "its interface \${interface##*/} is up"
          fi
        fi
      done
      # An interface in another network namespace is not seen, and other classes have no sign of their own.
      if [ -z "$seen" ]; then
        echo "the driver $holder has it"
      fi
      ;;
  esac
}

functions() {
  for link in "$at"/virtfn*; do
    if link=$(readlink "$link"); then
      echo "\${link##*/}"
    fi
  done
}

line=$(while read -r mark one rest; do
  if [ "$mark $one" = "#= $address" ]; then
    echo "$rest"
  fi
done <"$self")
if [ -z "$line" ]; then
  fail "not listed in $self"
fi
set -- $line
vendor=$1 device=$2 path=$4 count=$5 wanted=$6
shift 6

if ! [ -e "$at" ]; then
  fail 'not there'
fi
read -r now_vendor <"$at/vendor"
read -r now_device <"$at/device"
now="\${now_vendor#0x} \${now_device#0x} $(readlink -f "$at")"
if [ "$now" != "$vendor $device $path" ]; then
  fail "no virtual functions are made: it is $now, not $vendor $device $path"
fi
if ! [ -e "$at/sriov_numvfs" ]; then
  fail 'it has no SR-IOV now; see the firmware setup'
fi
own=$(driver "$address")
case $own in
  '') fail 'it has no driver, and only its driver makes virtual functions' ;;
  *vfio* | pci-stub) fail "it is on $own: a card for a guest as a whole makes no virtual functions" ;;
esac

read -r number <"$at/sriov_numvfs"
if [ "$number" != "$count" ]; then
  if [ "$number" != 0 ]; then
    for one in $(functions); do
      why=$(held "$one")
      if [ -n "$why" ]; then
        fail "it has $number virtual functions, not $count; $one is in use ($why): nothing is changed"
      fi
    done
    echo 0 >"$at/sriov_numvfs" || fail "its $number virtual functions cannot be freed"
  fi
  before=
  if [ -e "$at/sriov_drivers_autoprobe" ]; then
    read -r before <"$at/sriov_drivers_autoprobe"
    trap 'echo "$before" >"$at/sriov_drivers_autoprobe"' EXIT
    trap 'exit 1' TERM INT
    echo 0 >"$at/sriov_drivers_autoprobe"
  fi
  if ! echo "$count" >"$at/sriov_numvfs"; then
    log=$(dmesg | grep -F "$address: " | tail -n 3)
    say "$own makes no $count virtual functions. $log"
    case $log in
      *'not enough MMIO resources'*) fail 'switch on Above 4G Decoding and SR-IOV in the firmware setup, or boot with pci=realloc' ;;
      *'out of range'*) fail 'switch on ARI and SR-IOV in the firmware setup, boot with pci=realloc, or ask for fewer' ;;
      *'configuration via sysfs'*) fail "the driver $own cannot make them this way: see its documentation" ;;
    esac
    exit 1
  fi
fi

wrong=
interface=
for one in "$at"/net/*; do
  if [ -e "$one" ]; then
    interface=\${one##*/}
    break
  fi
done
for word; do
  index=\${word%%:*} setting=\${word#*:}
  if ! ip link set dev "$interface" vf "$index" "\${setting%%=*}" "\${setting#*=}"; then
    say "function $index: $own does not take \${setting%%=*} \${setting#*=}"
    wrong=yes
  fi
done

if [ -n "$before" ]; then
  echo "$before" >"$at/sriov_drivers_autoprobe"
fi
if [ "$wanted" = vfio-pci ]; then
  modprobe vfio-pci
fi
for one in $(functions); do
  has=$(driver "$one")
  if [ -z "$has" ]; then
    if [ "$wanted" = vfio-pci ]; then
      echo vfio-pci >"$pci/devices/$one/driver_override"
    fi
    echo "$one" >"$pci/drivers_probe"
    has=$(driver "$one")
  fi
  if [ "$wanted" = vfio-pci ] && [ "$has" != vfio-pci ]; then
    say "$one is on \${has:-no driver}, not on vfio-pci"
    wrong=yes
  fi
done
if [ -n "$wrong" ]; then
  exit 1
fi
echo "vfio-scripts: $address: $count virtual functions are there"
exit 0
`

/**
 * The unit that runs the program for one physical function, whenever that gets its driver. Guests that start by
 * themselves wait for it. Source: systemd.unit(5), systemd.service(5).
 */
export const VF_UNIT = `${headComment('tune-host')}[Unit]
Description=Make the virtual functions (SR-IOV) of %I
Before=libvirtd.service virtqemud.service libvirt-guests.service

[Service]
Type=oneshot
ExecStart=${VF_SCRIPT} %i
TimeoutStartSec=120
`
