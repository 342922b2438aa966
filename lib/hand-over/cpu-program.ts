import { HAND_OVER } from './hand-over-paths.ts'

export const HAND_OVER_CPUS = `${HAND_OVER}-cpus`

/**
 * Returns the part of the program that keeps the host's work off CPUs, in POSIX shell as dash, bash and busybox have it.
 * Source: systemd.resource-control(5) (AllowedCPUs=), Documentation/core-api/irq/irq-affinity.rst,
 * Documentation/core-api/workqueue.rst (cpumask), taskset(1), irqbalance(1).
 */
export function handOverCpus(head: string): string {
  return `${head}# Whose CPUs are whose while guests run; hand-over reads this file.
# shellcheck shell=sh disable=SC2012,SC2013,SC2034,SC2046,SC2086,SC2154
slices='init.scope system.slice user.slice'

# expand LISTS...: the CPUs of 0-3,8,^2, each once, in order
expand() {
  all=' ' not=' '
  for part in $(echo "$*" | tr ',' ' '); do
    case $part in
      ^*-*) part=\${part#^} && not="$not$(seq "\${part%-*}" "\${part#*-}" | tr '\\n' ' ')" ;;
      ^*) not="$not\${part#^} " ;;
      *-*) all="$all$(seq "\${part%-*}" "\${part#*-}" | tr '\\n' ' ')" ;;
      *) all="$all$part " ;;
    esac
  done
  for cpu in $all; do
    case $not in *" $cpu "*) ;; *) echo "$cpu" ;; esac
  done | sort -nu | tr '\\n' ' '
}

# without CPUS CPUS: those of the first that are not in the second
without() {
  for cpu in $1; do
    case " $2 " in *" $cpu "*) ;; *) printf '%s ' "$cpu" ;; esac
  done
}

# list CPUS: as the kernel takes them
list() { echo $1 | tr ' ' ','; }

# mask CPUS: as words of 32 bits in hexadecimal, the highest first
mask() {
  text='' base=0 last=0
  for cpu in $1; do last=$cpu; done
  while [ "$base" -le "$last" ]; do
    word=0
    for cpu in $1; do
      if [ "$cpu" -ge "$base" ] && [ "$cpu" -lt $((base + 32)) ]; then word=$((word | 1 << (cpu - base))); fi
    done
    text=$(printf '%08x' "$word")\${text:+,}$text
    base=$((base + 32))
  done
  echo "$text"
}

# remember KEY TEXT: what was there before the first guest
remember() { [ -e "$was/$1" ] || echo "$2" >"$was/$1"; }

# guests_cpus: those that its XML pins its virtual CPUs to; without libvirt its own file names them
guests_cpus() {
  id=$(guest_uuid)
  for xml in "\${etc:-/etc}"/libvirt/qemu/*.xml; do
    grep -qi "<uuid>\${id:-none}</uuid>" "$xml" 2>/dev/null || continue
    # What one of them excludes may be another's.
    expand "$(sed -n "s/.*<vcpupin .*cpuset=['\\"]\\([^'\\"]*\\)['\\"].*/\\1/p" "$xml" | while read -r each; do expand "$each"; done)"
    return
  done
  expand "$(lines cpus "$tuning")"
}

set_slices() {
  for one in $slices; do
    file=$run/systemd/system.control/$one.d/50-AllowedCPUs.conf
    if [ -n "$taken" ]; then
      [ -e "$was/slice-$one" ] || [ ! -e "$file" ] || remember "kept-$one" ''
      remember "slice-$one" "$(timeout 20 systemctl show --property=AllowedCPUs --value "$one")"
      timeout 20 systemctl set-property --runtime "$one" "AllowedCPUs=$(list "$host")" || why="systemd does not keep $one off CPUs"
    elif [ -e "$was/slice-$one" ]; then
      timeout 20 systemctl set-property --runtime "$one" "AllowedCPUs=$(cat "$was/slice-$one")" || say "$one keeps its CPUs"
      [ -e "$was/kept-$one" ] || { rm -f "$file" && rmdir "\${file%/*}" 2>/dev/null; }
      rm -f "$was/slice-$one" "$was/kept-$one"
    fi
  done
}

# The kernel's own work: its queues, and threads that are not bound to one CPU
set_kernel() {
  at=$sys/devices/virtual/workqueue/cpumask
  if [ -n "$taken" ]; then
    remember workqueue "$(cat "$at")"
    put "$(mask "$host")" "$at"
  elif [ -e "$was/workqueue" ]; then
    put "$(cat "$was/workqueue")" "$at"
    rm -f "$was/workqueue"
  fi 2>/dev/null
  [ -n "$taken" ] || [ -e "$was/threads" ] || return 0
  before=$(cat "$was/threads" 2>/dev/null)
  for at in "$proc"/[0-9]*; do
    case $(sed -n 's/^PPid:[[:space:]]*//p; s/^Cpus_allowed_list:[[:space:]]*/:/p' "$at/status" 2>/dev/null | tr '\\n' ' ') in
      "2 :"*) now=$(expand "$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' "$at/status" 2>/dev/null)") ;;
      *) continue ;;
    esac
    case $now in "$online" | "\${before:-none} ") taskset -p -c "$(list "$host")" "\${at##*/}" >/dev/null 2>&1 ;; esac
  done
  if [ -n "$taken" ]; then echo "\${host% }" >"$was/threads"; else rm -f "$was/threads"; fi
}

# was_there NUMBER: was there this interrupt before the first guest took its CPUs?
was_there() { grep -qx "$1" "$was/interrupts" 2>/dev/null; }

# irq NUMBER CPUS: one that the kernel manages itself refuses
irq() {
  at=$proc/irq/$1/smp_affinity_list
  read -r now <"$at" 2>/dev/null && [ "$(expand "$now")" != "$2" ] || return 0
  ! was_there "$1" || remember "irq-$1" "$now"
  put "$(list "$2")" "$at" 2>/dev/null || stuck="\${stuck:+$stuck }$1"
}

set_irqs() {
  stuck=''
  at=$proc/irq/default_smp_affinity
  if [ -n "$taken" ]; then
    remember irqs "$(cat "$at")"
    remember interrupts "$(for one in "$proc"/irq/[0-9]*; do echo "\${one##*/}"; done)"
    put "$(mask "$host")" "$at" 2>/dev/null
    for one in "$proc"/irq/[0-9]*; do
      read -r now <"$was/irq-\${one##*/}" || read -r now <"$one/smp_affinity_list" || continue
      cpus=$(without "$(expand "$now")" "$taken")
      irq "\${one##*/}" "\${cpus:-$host}"
    done 2>/dev/null
    set_cards
    [ -z "$stuck" ] || say "interrupts that the kernel keeps where they are: $stuck"
  elif [ -e "$was/irqs" ]; then
    put "$(cat "$was/irqs")" "$at"
    # Those that a driver asked for meanwhile started with what was the default then.
    for one in "$proc"/irq/[0-9]*; do
      was_there "\${one##*/}" || put "$(cat "$was/irqs")" "$one/smp_affinity"
    done 2>/dev/null
    for one in "$was"/irq-*; do
      at=$proc/irq/\${one##*/irq-}/smp_affinity_list
      [ ! -e "$at" ] || put "$(cat "$one")" "$at" 2>/dev/null
      rm -f "$one"
    done
    rm -f "$was/irqs" "$was/interrupts"
  fi
}

# The interrupts of the guests' cards, which exist once the guest's driver has switched them on
set_cards() {
  for want in "$wants"/*; do
    [ -e "$want" ] || continue
    cpus=$(expand "$(lines isolated "$want")")
    [ -n "$cpus" ] || continue
    for one in $(lines function "$want"); do
      for number in $(sed -n "s/^ *\\([0-9]*\\):.*vfio.*($one)\\$/\\1/p" "$proc/interrupts"); do irq "$number" "$cpus"; done
    done
  done
}

# irqbalance would put interrupts back: it is told which CPUs are none of its business.
set_irqbalance() {
  file=$run/systemd/system/irqbalance.service.d/vfio-scripts.conf
  text="[Service]
Environment=IRQBALANCE_BANNED_CPULIST=$(list "$taken")"
  if [ -n "$taken" ]; then
    case $(state_of irqbalance.service) in active) ;; *) return 0 ;; esac
    [ "$(cat "$file" 2>/dev/null)" != "$text" ] || return 0
    mkdir -p "\${file%/*}" && echo "$text" >"$file"
  else
    [ -e "$file" ] || return 0
    rm -f "$file" && rmdir "\${file%/*}"
  fi
  timeout 20 systemctl daemon-reload
  timeout 20 systemctl try-restart irqbalance.service
}
`
}
