/** The path of the program that hands cards over, beside which are its facts and the files of the guests. */
export const HAND_OVER = '/etc/vfio-scripts/hand-over'
export const HAND_OVER_FACTS = `${HAND_OVER}-facts`

/**
 * Returns the part of the program that looks, in POSIX shell as dash and busybox have it. Other programs it needs: cat, grep,
 * ls, readlink, sed, systemctl. One `ls -l` tells all open files, where a readlink for each would take seconds.
 * Source: proc_pid_fd(5), Documentation/ABI/testing/sysfs-dev, kernel/resource.c (/proc/iomem), cgroups(7).
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

# within SECONDS COMMAND...: does it come true in time?
within() {
  left=$1
  shift
  until "$@"; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 1
  done
}

driver() {
  link=$(readlink "$pci/devices/$1/driver") || link=none
  echo "\${link##*/}"
}
is_on() { [ "$(driver "$1")" = "$2" ]; }

# nodes ADDRESS: its device nodes, that of its IOMMU group, and those of NVIDIA, which /sys does not know
nodes() {
  path=$(readlink -f "$pci/devices/$1")
  ls -l "$sys/dev/char" "$sys/dev/block" | while read -r line; do
    at=$sys/\${line##*../}
    case $at in "$path"/*) sed -n "s|^DEVNAME=|$dev/|p" "$at/uevent" ;; esac
  done
  link=$(readlink "$pci/devices/$1/iommu_group") && echo "$dev/vfio/\${link##*/}"
  if is_on "$1" nvidia; then ls -d "$dev"/nvidia*; fi
}

# holder PID NODE: PID, cgroup, name, node
holder() {
  comm='?' cgroup=-
  { read -r comm <"$proc/$1/comm" && read -r cgroup <"$proc/$1/cgroup"; } 2>/dev/null
  echo "$1 \${cgroup##*:} $comm $2"
}

# holders ADDRESS...: who has one of their nodes open, mapped or mounted. ls names a lone folder only beside a file.
holders() {
  wanted=$nl$(for one in "$@"; do nodes "$one"; done 2>/dev/null)$nl
  ls -l "$proc/uptime" "$proc"/[0-9]*/fd 2>/dev/null | while read -r line; do
    target=\${line##* -> }
    target=\${target%' (deleted)'}
    case $line in "$proc"/*/fd:) pid=\${line#"$proc/"} ;; esac
    case $wanted in *"$nl$target$nl"*) holder "\${pid%/fd:}" "$target" ;; esac
  done
  echo "$wanted" | sed -n 's/..*/ &$/p' | grep -l -f - "$proc"/[0-9]*/maps 2>/dev/null | while read -r line; do
    pid=\${line#"$proc/"}
    holder "\${pid%/maps}" 'which is mapped'
  done
  echo "$wanted" | sed -n 's/..*/^& /p' | grep -h -f - "$proc/mounts" "$proc/swaps" 2>/dev/null
}

# is_free ADDRESS...: does nobody have them? held is the first who does
is_free() {
  held=$(holders "$@")
  held=\${held%%"$nl"*}
  [ -z "$held" ]
}

# framebuffer ADDRESS: the picture of the firmware in its memory, if it is there
framebuffer() {
  inside=none
  while IFS= read -r line; do
    text=\${line#"\${line%%[! ]*}"}
    indent=\${line%"$text"}
    case $indent in "$inside"*) ;; *) inside=none ;; esac
    case $inside:$text in
      none:*" : $1") inside="$indent " ;;
      ' '*:*' : '*fb | ' '*:*' : BOOTFB' | ' '*:*-framebuffer*) echo "\${text##* : }" ;;
    esac
  done <"$proc/iomem"
}

# What speaks against taking them, before anything is stopped; one line each
against() {
  lines function "$conf" | while read -r address ids; do
    at=$pci/devices/$address
    now=$(cat "$at/vendor" "$at/device" 2>/dev/null)
    case "0x\${ids%% *}\${nl}0x\${ids#* }" in
      "$now "*) ;;
      *) echo "$address is not the device that it was" && continue ;;
    esac
    [ -e "$at/iommu_group" ] || echo "$address has no IOMMU group: the IOMMU is off"
    for other in "$at"/iommu_group/devices/*; do
      other=\${other##*/}
      case " $functions :$(driver "$other"):$(cat "$pci/devices/$other/class")" in
        *" $other "* | *:none:* | *:vfio-pci:* | *:0x06*) ;;
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

state_of() { systemctl show --property=ActiveState --value "$1"; }
job_of() { systemctl show --property=Job --value "$1"; }

# settled UNIT: is it neither coming nor going?
settled() {
  case $(job_of "$1"):$(state_of "$1") in [1-9]* | *:*ating | *:reloading) return 1 ;; esac
}

# Does a guest have them, by libvirt's account or by an open node?
in_use() {
  pid=$(cat "$run/libvirt/qemu/$name.pid" 2>/dev/null)
  [ -d "$proc/\${pid:-none}" ] || ! is_free $functions
}
has_ended() { ! in_use; }
`
}
