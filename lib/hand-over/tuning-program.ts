import { HAND_OVER } from './hand-over-paths.ts'

export const HAND_OVER_TUNING = `${HAND_OVER}-tuning`

/**
 * Returns the part of the program that gives a guest CPUs, huge pages and clocks while it runs, in POSIX shell as dash, bash and
 * busybox have it. What all running guests want is set each time anew from what was there before the first of them: so
 * the second guest's end takes nothing from the first, and a run that was cut short is put right by the next.
 * Source: Documentation/admin-guide/mm/hugetlbpage.rst, Documentation/admin-guide/pm/cpufreq.rst.
 */
export function handOverTuning(head: string): string {
  return `${head}# CPUs, huge pages and clocks for guests while they run; hand-over reads this file.
# shellcheck shell=sh disable=SC2012,SC2013,SC2046,SC2086,SC2154
tuned=$run/vfio-scripts/while-running
wants=$tuned/wants was=$tuned/was

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
  [ -n "$host" ] || { why='no CPU would be left for the host' && host=$online taken=''; }
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
