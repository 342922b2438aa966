import { FIRMWARE_PICTURES } from '../host/kernel.ts'
import { HAND_OVER } from './hand-over-paths.ts'

export const HAND_OVER_FACTS = `${HAND_OVER}-facts`

/**
 * Returns the part of the program that looks, in POSIX shell as dash, bash and busybox have it. Other programs it needs: cat,
 * grep, ls, readlink, sed, sleep, systemctl, timeout. One `ls -l` tells all open files, where a readlink for each would take
 * seconds.
 * Source: proc_pid_fd(5), Documentation/ABI/testing/sysfs-dev, kernel/resource.c (/proc/iomem), cgroups(7),
 * drivers/vfio/vfio_main.c and `driver_managed_dma` in drivers/ (which drivers a group may have beside vfio-pci).
 */
export function handOverFacts(head: string): string {
  return `${head}# What a hand-over looks at; hand-over reads this file. Nothing here changes anything.
# shellcheck shell=sh disable=SC2012,SC2034,SC2062,SC2086,SC2154
sys=/sys proc=/proc dev=/dev run=/run
pci=$sys/bus/pci
nl='
'

# lines KIND FILE: the rest of each line of this kind
lines() {
  while read -r kind rest; do
    case $kind in "$1") echo "$rest" ;; esac
  done <"$2"
}

# within SECONDS COMMAND...: does it come true in time? It is asked often for two seconds, then once a second.
within() {
  read -r now _ <"$proc/uptime"
  seconds=$1
  shift
  until_uptime $((\${now%.*} + seconds)) $((\${now%.*} + 2)) "$@"
}
until_uptime() {
  until without_two "$@"; do
    read -r now _ <"$proc/uptime"
    [ "\${now%.*}" -lt "$1" ] || return 1
    if [ "\${now%.*}" -lt "$2" ]; then sleep 0.1; else sleep 1; fi
  done
}
without_two() { shift 2 && "$@"; }

driver() {
  link=$(readlink "$pci/devices/$1/driver") || link=none
  echo "\${link##*/}"
}
is_on() { [ "$(driver "$1")" = "$2" ]; }

# identity ADDRESS: vendor, device, subsystem or -, and the folder, which names every port above it
identity() {
  subsystem=-
  at=$pci/devices/$1
  { read -r vendor <"$at/vendor" && read -r device <"$at/device"; } 2>/dev/null || return 1
  if { read -r one <"$at/subsystem_vendor" && read -r two <"$at/subsystem_device"; } 2>/dev/null; then
    subsystem=\${one#0x}:\${two#0x}
  fi
  path=$(readlink -f "$at")
  echo "\${vendor#0x} \${device#0x} $subsystem /sys\${path#"$sys"}"
}

# is_what ADDRESS WORDS: is it the device with this identity, or this start of one?
is_what() { case "$(identity "$1") " in "$2 "*) ;; *) return 1 ;; esac }

# nodes ADDRESS: its device nodes, that of its IOMMU group, and those of NVIDIA, which /sys does not know
nodes() {
  path=$(readlink -f "$pci/devices/$1") || return 0
  # simpledrm has a node of its own.
  firmware=$(framebuffer "$1")
  ls -l "$sys/dev/char" "$sys/dev/block" | while read -r line; do
    at=$sys/\${line##*../}
    case \${firmware:+with}$at in
      "$path"/* | with"$path"/* | with"$sys"/devices/platform/*-framebuffer*) sed -n "s|^DEVNAME=|$dev/|p" "$at/uevent" ;;
    esac
  done
  link=$(readlink "$pci/devices/$1/iommu_group") && echo "$dev/vfio/\${link##*/}"
  if is_on "$1" nvidia; then ls -d "$dev"/nvidia* "$dev"/nvidia-caps/*; fi
}

# stacked ADDRESS: what the kernel has made of its disks
stacked() {
  path=$(readlink -f "$pci/devices/$1")
  ls -l "$sys/dev/block" 2>/dev/null | while read -r line; do
    at=$sys/\${line##*../}
    case $at in
      "$path"/*) for on in "$at"/holders/*; do [ ! -e "$on" ] || echo "- - $dev/\${at##*/} \${on##*/}"; done ;;
    esac
  done
}

# holder PID NODE: PID, control group, node, name
holder() {
  comm='?' cgroup=-
  {
    read -r comm <"$proc/$1/comm"
    while read -r line; do
      case $line in 0::* | *:name=systemd:*) cgroup=\${line#*:*:} ;; esac
    done <"$proc/$1/cgroup"
  } 2>/dev/null
  echo "$1 $cgroup $2 $comm"
}

# holders ADDRESS...: who has one of their nodes open, mapped or mounted, as far as it can be seen
holders() {
  wanted=$nl$(for one in "$@"; do nodes "$one"; done 2>/dev/null)$nl
  # ls names a lone folder only beside a file.
  ls -l "$proc/uptime" "$proc"/[0-9]*/fd 2>/dev/null | while read -r line; do
    case $line in
      "$proc"/*/fd:) pid=\${line#"$proc/"} ;;
      *' -> '*)
        target=\${line##* -> }
        target=\${target%' (deleted)'}
        case $wanted in *"$nl$target$nl"*) holder "\${pid%/fd:}" "$target" ;; esac
        ;;
    esac
  done
  # What is mapped of vfio's has no name, and a process that hangs in the kernel would keep its maps closed.
  echo "$wanted" | sed -n "\\|^$dev/vfio/|d; s/..*/ &\\$/p" | grep . | {
    read -r first && { echo "$first" && cat; } | grep -l -f - "$proc"/[0-9]*/maps 2>/dev/null
  } | while read -r line; do
    pid=\${line#"$proc/"}
    holder "\${pid%/maps}" memory
  done
  echo "$wanted" | sed -n 's/..*/^& /p' | grep -h -f - "$proc/mounts" "$proc/swaps" 2>/dev/null | while read -r node at _; do
    echo "- - $node $at"
  done
  for one in "$@"; do stacked "$one"; done
}

# is_free ADDRESS...: does nobody have them? held says who does
is_free() {
  held=$(holders "$@" | {
    read -r pid cgroup node comm || exit
    case $pid in -) echo "$node by $comm" ;; *) echo "$node by $comm (process $pid of \${cgroup##*/})" ;; esac
  })
  [ -z "$held" ]
}

# framebuffer ADDRESS: the picture of the firmware in its memory, if it is there
framebuffer() {
  inside=none
  while IFS= read -r line; do
    text=\${line#"\${line%%[! ]*}"}
    indent=\${line%"$text"}
    case $indent in "$inside"*) ;; *) inside=none ;; esac
    case $inside:\${text##* : } in
      none:"$1") inside="$indent " ;;
      ${FIRMWARE_PICTURES.map((name) => `' '*:${name}`).join(' | ')})
        echo "\${text##* : }"
        ;;
    esac
  done <"$proc/iomem"
}

# What speaks against taking them, before anything is stopped; one line each
against() {
  board=$(lines board "$conf")
  now=$(cat "$sys/class/dmi/id/board_name" 2>/dev/null) || now=$board
  case $board in '' | "$now") ;; *) echo "this is another machine: its board is $now, not $board" ;; esac
  lines function "$conf" | while read -r address what; do
    at=$pci/devices/$address
    [ -e "$at" ] || { echo "$address is not there" && continue; }
    is_what "$address" "$what" || { echo "$address is not the device that it was" && continue; }
    [ -e "$at/iommu_group" ] || echo "$address has no IOMMU group: the IOMMU is off"
    for other in "$run"/vfio-scripts/hand-over/*/record; do
      guest=\${other%/record}
      if grep -q "^driver $address " "$other" 2>/dev/null; then echo "$address is with \${guest##*/}"; fi
    done
    for other in "$at"/iommu_group/devices/*; do
      other=\${other##*/}
      case " $functions :$(driver "$other")" in
        *" $other "* | *:none | *:vfio-pci | *[-_]vfio[-_]pci | *:pci-stub | *:pcieport) ;;
        *) echo "$other is in the same IOMMU group and has the driver $(driver "$other")" ;;
      esac
    done
    case $(driver "$address") in
      vfio-pci) is_free "$address" || echo "$address is in use already: $held" ;;
      nvidia)
        for other in "$pci"/drivers/nvidia/*:*:*.*; do
          case " $functions " in *" \${other##*/} "*) continue ;; esac
          echo "\${other##*/} is another NVIDIA card: the driver hangs when one of two is taken away"
        done
        ;;
      none) [ -z "$(framebuffer "$address")" ] || echo "$address shows the picture of the firmware, which does not come back" ;;
    esac
  done
}

# has_console 0|1: is there a text console of framebuffers that is bound, or not?
has_console() {
  for at in "$sys"/class/vtconsole/*; do
    case $(cat "$at/bind" "$at/name" 2>/dev/null) in "$1$nl"*'frame buffer'*) return 0 ;; esac
  done
  return 1
}

state_of() { timeout 20 systemctl show --property=ActiveState --value "$1"; }
job_of() { timeout 20 systemctl show --property=Job --value "$1"; }

# guest_uuid: of its files, if libvirt knows the guest
guest_uuid() {
  id=$(lines uuid "$conf" && lines uuid "$tuning")
  echo "\${id%%"$nl"*}"
}

# guest_pid: the QEMU that libvirt runs for this guest, whatever it is called now
guest_pid() {
  uuid=$(guest_uuid)
  for file in "$run"/libvirt/qemu/*.pid; do
    # libvirt ends the file without a newline.
    pid=''
    { read -r pid || [ -n "$pid" ]; } <"$file" && grep -aqi "\${uuid:-no uuid}" "$proc/$pid/cmdline" && echo "$pid" && return
  done 2>/dev/null
  return 1
}

# Does a guest have them, by libvirt's account or by an open node?
in_use() { [ -n "$(guest_pid)" ] || ! is_free $functions; }
has_ended() { ! in_use; }
`
}
