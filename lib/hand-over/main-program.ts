/**
 * Returns the program that takes and gives back, in POSIX shell as dash, bash and busybox have it; it needs no Node, and no
 * virsh but for `return`. Everything that it waits for has a limit, so that libvirt, which has none, goes on.
 * Source: drivers/video/aperture.c (what removes the picture of the firmware), systemctl(1), systemd.service(5), flock(1).
 */
export function handOverProgram(head: string): string {
  return `#!/bin/sh
${head}# Gives PCI functions to vfio-pci when a guest starts, and back to the drivers of the host when it stops.
#   hand-over take NAME        all of it, or nothing and a line that says why
#   hand-over give-back NAME   from any half-way point; it does nothing where nothing was taken
#   hand-over watch NAME       gives back what no guest uses
#   hand-over rehearse NAME    takes them for ten seconds, without a guest
#   hand-over return NAME      ends the guest, and gives back
#   hand-over status           who has which function now
# hand-over.d/NAME beside this file says what is taken. Each step is written into /run before it is done.
# shellcheck disable=SC2046,SC2086,SC2154
set -u
umask 022
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin
# shellcheck source=/dev/null
. "\${0%/*}/hand-over-facts"
# shellcheck source=/dev/null
. "\${0%/*}/hand-over-steps"
# shellcheck source=/dev/null
. "\${0%/*}/hand-over-cpus"
# shellcheck source=/dev/null
. "\${0%/*}/hand-over-tuning"
name=\${2:-}
conf=\${0%/*}/hand-over.d/$name tuning=\${0%/*}/while-running.d/$name
state=$run/vfio-scripts/hand-over/$name
record=$state/record unit=vfio-scripts-hand-over@$name.service

# fail WORDS...: all back, and the start of the guest is refused
fail() {
  trap '' HUP INT TERM
  say "$*"
  echo "$*" >"$state/why"
  give_back
  exit 1
}

stop_units() {
  for one in $(lines stop "$conf"); do
    now=$(job_of "$one"):$(state_of "$one")
    case $now in
      *:) fail "systemd does not answer for $one" ;;
      :inactive | :failed | :deactivating) ;;
      *)
        note unit "$one"
        unit stop "$one" || fail "$one does not stop"
        stopped=yes
        ;;
    esac
  done
}

# A service manager of a user ends ten seconds after the last session, which ends with the display manager.
wait_until_free() {
  [ -z "$stopped" ] || within 15 is_free $functions || say "still in use: $held"
  is_free $functions || ask_holders
  # The splash of a boot that starts the guest would wait for the display manager.
  is_free $functions || ! command -v plymouth >/dev/null || timeout 10 plymouth quit
  within 40 is_free $functions || fail "it is in use: $held"
}

# The card's names under /dev/dri/by-path: its number is another one when it is back.
note_nodes() {
  [ -z "$functions" ] || note settle
  for one in $functions; do
    for at in "$dev/dri/by-path/pci-$one-"*; do
      [ ! -e "$at" ] || note node "$at"
    done
  done
}

free_pictures() {
  if [ -n "$(lines consoles "$conf")" ] && has_console 1; then
    note consoles
    say 'unbinds the text console'
    bind_consoles 0 || fail 'the text console stays on the card'
  fi
  for one in $functions; do
    [ -n "$(framebuffer "$one")" ] || continue
    for at in "$sys"/bus/platform/drivers/*-framebuffer/*-framebuffer.*; do
      [ -e "$at" ] || continue
      note platform "\${at%/*}" "\${at##*/}"
      say "unbinds \${at##*/}"
      bounded 20 put "\${at##*/}" "\${at%/*}/unbind" || fail "\${at##*/} does not let go of the card"
    done
  done
}

# note_drivers: the drivers come back before the other modules, which depend on them
note_drivers() {
  modules=''
  for one in $functions; do
    if is_on "$one" nvidia; then modules='nvidia_uvm nvidia_drm nvidia_modeset nvidia'; fi
  done
  for one in $modules; do
    [ ! -e "$sys/module/$one" ] || [ "$one" = nvidia ] || note module "$one"
  done
  for one in $functions; do
    at=$pci/devices/$one
    module=$(readlink "$at/driver/module") || module=-
    set -- $(identity "$one")
    note driver "$one" "$1:$2" "$(driver "$one")" "\${module##*/}" "$(cat "$at/driver_override")"
  done
}

take() {
  [ "$conf:$tuning" != /dev/null:/dev/null ] || fail "nothing is set up for it"
  rm -f "$state/log" "$state/why"
  if [ -e "$record" ]; then give_back || fail 'what was taken before is not back'; fi
  [ -z "$functions" ] || bounded 30 modprobe vfio-pci
  [ -z "$functions" ] || [ -e "$pci/drivers/vfio-pci" ] || fail 'there is no vfio-pci'
  why=$(against)
  [ -z "$why" ] || fail "\${why%%"$nl"*}"
  say "takes $functions"
  read -r now _ <"$proc/uptime"
  note begin "$now"
  [ "$tuning" = /dev/null ] || alone tune
  stopped=''
  stop_units
  wait_until_free
  note_nodes
  free_pictures
  note_drivers
  for one in $modules; do
    say "removes the module $one"
    within 15 unload "$one" || fail "the module $one is in use"
  done
  for one in $functions; do
    is_on "$one" vfio-pci && continue
    say "$one goes from $(driver "$one") to vfio-pci"
    bounded 30 put vfio-pci "$pci/devices/$one/driver_override" || fail "$one takes no other driver"
    unbind "$one" || fail "$one: $(driver "$one") does not let go\${held:+, in use again: $held}"
    probe "$one" vfio-pci || fail "$one is not on vfio-pci; the kernel log says why"
  done
  for one in $(lines start "$conf"); do
    note started "$one"
    unit start "$one" || fail "$one does not start"
  done
  say away
}

# Takes the recorded steps back, the last one first. While the host shuts down it starts nothing.
give_back() {
  [ -e "$record" ] || return 0
  [ "$(timeout 20 systemctl is-system-running)" != stopping ] || return 0
  held=''
  for one in $(lines driver "$record" | sed 's/ .*//'); do
    is_on "$one" vfio-pci || continue
    within 20 is_free "$one" || say "not given back, a guest has it: $held"
    [ -z "$held" ] || return 1
  done
  say 'gives back'
  back='' kept=''
  while read -r line; do back=$line$nl$back; done <"$record"
  while read -r line <&3; do
    [ -z "$line" ] || undo $line || kept=$line$nl$kept
  done 3<<END
$back
END
  if [ -n "$kept" ]; then
    echo "\${kept%"$nl"}" >"$record.new" && mv "$record.new" "$record"
    return 1
  fi
  rm -f "$record" "$state"/result.*
  say 'all is back'
}

# The guest has two minutes to come, and libvirt 20 seconds to notice that it ended.
watch() {
  # A guest without a device and without libvirt cannot be seen.
  [ -n "$functions$(guest_uuid)" ] || return 0
  seen=''
  while [ -e "$record" ]; do
    read -r line <"$record"
    if [ "$line" != "$seen" ]; then seen=$line idle=0 limit=120; fi
    sleep 5
    idle=$((idle + 5))
    [ "$(state_of "$unit")" != activating ] || idle=0
    if in_use; then
      idle=0 limit=20
      [ ! -e "$wants/$name" ] || alone set_cards
    fi
    [ "$idle" -ge "$limit" ] || continue
    say 'no guest has it'
    timeout 700 systemctl stop "$unit"
    # One that stopped before, while the guest had it, gives nothing back.
    sh "$0" give-back "$name" || idle=0 limit=600
  done
}

end_guest() {
  in_use || return
  id=$(guest_uuid)
  if [ -n "$(guest_pid)" ]; then
    timeout 30 virsh -c qemu:///system shutdown "$id"
    within 90 has_ended && return
    timeout 60 virsh -c qemu:///system destroy "$id"
    within 10 has_ended && return
  fi
  # One without libvirt, or libvirt does not answer.
  for signal in TERM KILL; do
    for pid in $(holders $functions | sed -n 's/^\\([0-9]*\\) .* \\.*qemu.*/\\1/p'); do kill -$signal "$pid"; done
    within 20 has_ended && return
  done
}

[ -r "$conf" ] || conf=/dev/null
[ -r "$tuning" ] || tuning=/dev/null
functions=$(lines function "$conf" | sed 's/ .*//' | tr '\\n' ' ')
functions=\${functions% }
case \${1:-}:$name in
  status:*)
    for conf in "\${0%/*}"/hand-over.d/*; do
      [ -e "$conf" ] || continue
      for one in $(lines function "$conf" | sed 's/ .*//'); do echo "\${conf##*/} $one $(driver "$one")"; done
    done
    exit
    ;;
  *: | *:.* | *:*/*) echo 'hand-over: take, give-back, watch, rehearse or return, and a guest' >&2 && exit 2 ;;
esac
mkdir -p "$state"
case $1 in
  take | rehearse | give-back)
    exec 9>"$state/lock"
    flock -w 600 9 || exit 1
    ;;
esac
case $1 in
  take | rehearse)
    trap 'fail "it was interrupted"' HUP INT TERM
    take
    [ "$1" != take ] || exit 0
    sleep 10
    give_back
    ;;
  give-back) give_back ;;
  watch) watch ;;
  return)
    end_guest
    timeout 700 systemctl stop "$unit"
    sh "$0" give-back "$name"
    ;;
  *) echo "hand-over: $1: not known" >&2 && exit 2 ;;
esac
`
}
