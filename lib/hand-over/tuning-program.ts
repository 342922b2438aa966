import { HAND_OVER } from './hand-over-paths.ts'

export const HAND_OVER_TUNING = `${HAND_OVER}-tuning`

/**
 * Returns the part of the program that gives a guest CPUs, huge pages and clocks while it runs, in POSIX shell as dash, bash and
 * busybox have it. What all running guests want is set each time anew from what was there before the first of them: so
 * the second guest's end takes nothing from the first, and a run that was cut short is put right by the next.
 * Source: systemd.resource-control(5) (AllowedCPUs=), Documentation/core-api/irq/irq-affinity.rst,
 * Documentation/core-api/workqueue.rst (cpumask), Documentation/admin-guide/mm/hugetlbpage.rst,
 * Documentation/admin-guide/pm/cpufreq.rst, irqbalance(1).
 */
export function handOverTuning(head: string): string {
  return `${head}# CPUs, huge pages and clocks for guests while they run; hand-over reads this file.
# shellcheck shell=sh disable=SC2012,SC2013,SC2046,SC2086,SC2154
tuned=$run/vfio-scripts/while-running
wants=$tuned/wants was=$tuned/was
slices='init.scope system.slice user.slice'

# expand LISTS...: the CPUs of 0-3,8,^2, each once, in order
expand() {
  all=' ' not=' '
  for part in $(echo "$*" | tr ',' ' '); do
    case $part in
      ^*-*) not="$not$(seq "\${part#^}" 2>/dev/null) " ;;
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
    expand "$(sed -n "s/.*<vcpupin .*cpuset=['\\"]\\([^'\\"]*\\)['\\"].*/\\1/p" "$xml")"
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

# irq NUMBER CPUS: one that the kernel manages itself refuses
irq() {
  at=$proc/irq/$1/smp_affinity_list
  read -r now <"$at" 2>/dev/null && [ "$(expand "$now")" != "$2" ] || return 0
  remember "irq-$1" "$now"
  put "$(list "$2")" "$at" 2>/dev/null || stuck="\${stuck:+$stuck }$1"
}

set_irqs() {
  stuck=''
  at=$proc/irq/default_smp_affinity
  if [ -n "$taken" ]; then
    remember irqs "$(cat "$at")"
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
    for one in "$was"/irq-*; do
      at=$proc/irq/\${one##*/irq-}/smp_affinity_list
      [ ! -e "$at" ] || put "$(cat "$one")" "$at" 2>/dev/null
      rm -f "$one"
    done
    rm -f "$was/irqs"
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

# Governor and energy preference of the policies that have CPUs of guests
set_governors() {
  for at in "$sys"/devices/system/cpu/cpufreq/policy*; do
    [ -e "$at/scaling_governor" ] || continue
    policy=\${at##*/} wanted=''
    for want in "$wants"/*; do
      [ -e "$want" ] || continue
      cpus=" $(expand "$(lines cpus "$want")")"
      for cpu in $(cat "$at/affected_cpus"); do
        case $cpus in *" $cpu "*) wanted=$(lines governor "$want") ;; esac
      done
      [ -z "$wanted" ] || break
    done
    if [ -n "$wanted" ]; then
      remember "governor-$policy" "$(cat "$at/scaling_governor")"
      [ ! -e "$at/energy_performance_preference" ] || remember "energy-$policy" "$(cat "$at/energy_performance_preference")"
      put "$wanted" "$at/scaling_governor" || why="the governor $wanted is not to be had"
      [ "$wanted" != performance ] || [ ! -e "$was/energy-$policy" ] || put performance "$at/energy_performance_preference"
    elif [ -e "$was/governor-$policy" ]; then
      put "$(cat "$was/governor-$policy")" "$at/scaling_governor"
      [ ! -e "$was/energy-$policy" ] || put "$(cat "$was/energy-$policy")" "$at/energy_performance_preference"
      rm -f "$was/governor-$policy" "$was/energy-$policy"
    fi
  done 2>/dev/null
}

# pages_file KIB NODE
pages_file() {
  case $2 in
    -) echo "$sys/kernel/mm/hugepages/hugepages-$1kB/nr_hugepages" ;;
    *) echo "$sys/devices/system/node/node$2/hugepages/hugepages-$1kB/nr_hugepages" ;;
  esac
}

set_pages() {
  for one in $(cat "$wants"/* 2>/dev/null | sed -n 's/^pages \\([0-9]*\\) [0-9]* \\([-0-9]*\\).*/\\1:\\2/p') $(ls "$was" 2>/dev/null | sed -n 's/^pages-//p'); do
    kib=\${one%%:*} node=\${one#*:}
    at=$(pages_file "$kib" "$node")
    remember "pages-$one" "$(cat "$at")"
    read -r sum <"$was/pages-$one"
    more=0
    for each in $(cat "$wants"/* 2>/dev/null | sed -n "s/^pages $kib \\([0-9]*\\) $node\\$/\\1/p"); do more=$((more + each)); done
    short=0
    if [ "$(cat "$at")" != $((sum + more)) ]; then
      [ "$more" = 0 ] || put 1 "$proc/sys/vm/compact_memory"
      put $((sum + more)) "$at"
      if [ "$(cat "$at")" -lt $((sum + more)) ]; then
        # What the kernel caches of files lies between.
        put 3 "$proc/sys/vm/drop_caches"
        put 1 "$proc/sys/vm/compact_memory"
        put $((sum + more)) "$at"
      fi
      read -r now <"$at"
      short=$((sum + more - now))
    fi
    [ "$more" != 0 ] || rm -f "$was/pages-$one"
    [ "$short" -le 0 ] || missing="\${missing:+$missing, }$((more - short)) of $more huge pages of $((kib / 1024)) MiB"
  done
}

# settle: all that the running guests want together; why says what could not be done
settle() {
  online=$(expand "$(cat "$sys/devices/system/cpu/online")")
  taken=$(expand $(cat "$wants"/* 2>/dev/null | sed -n 's/^isolated //p'))
  host=$(without "$online" "$taken")
  missing='' why=''
  [ -n "$host" ] || { why='no CPU would be left for the host' && return; }
  set_pages
  set_slices
  set_kernel
  set_irqs
  set_irqbalance
  set_governors
}

# alone COMMAND...: one guest after another
alone() {
  if [ -n "\${locked:-}" ]; then
    "$@"
    return
  fi
  locked=yes
  {
    flock -w 120 8
    "$@"
  } 8>"$run/vfio-scripts/while-running.lock"
  locked=''
}

# tune: what this guest wants is set, or its start is refused
tune() {
  mkdir -p "$wants" "$was"
  note tuned
  cpus=''
  if [ -n "$(lines isolate "$tuning")$(lines governor "$tuning")" ]; then
    cpus=$(guests_cpus)
    [ -n "$cpus" ] || fail "$name pins no virtual CPU, so that its CPUs are not known: gen-domain --vcpus pins them"
  fi
  {
    [ -z "$cpus" ] || echo "cpus $(list "$cpus")"
    [ -z "$(lines isolate "$tuning")" ] || echo "isolated $(list "$cpus")"
    grep '^\\(governor\\|pages\\|function\\) ' "$tuning"
  } >"$tuned/new"
  mv "$tuned/new" "$wants/$name"
  say "tunes the host: $(tr '\\n' ';' <"$wants/$name")"
  settle
  [ -z "$why" ] || fail "$why"
  [ -z "$missing" ] || [ -n "$(lines best-effort "$tuning")" ] || fail "memory is too fragmented: only $missing could be had"
  [ -z "$missing" ] || say "goes on with less memory: only $missing could be had"
}

untune() {
  rm -f "$wants/$name"
  settle
  rmdir "$wants" "$was" "$tuned" 2>/dev/null
  return 0
}
`
}
