/**
 * Returns the program that takes and gives back, in POSIX shell as dash and busybox have it; it needs no Node, and no virsh
 * but for `return`. Everything that it waits for has a limit, so that libvirt, which has none, goes on.
 * Source: Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe), Documentation/driver-api/console.rst,
 * systemctl(1), drivers/vfio/vfio_main.c (unbinding waits until the group is closed).
 */
export function handOverProgram(head: string): string {
  return `#!/bin/sh
${head}# Gives PCI functions to vfio-pci when a guest starts, and back to the drivers of the host when it stops.
#   hand-over take NAME        all of it, or nothing and a line that says why
#   hand-over give-back NAME   from any half-way point; it does nothing where nothing was taken
#   hand-over watch NAME       gives back what no guest uses
#   hand-over rehearse NAME    takes them for ten seconds, without a guest
#   hand-over return NAME      ends the guest of libvirt, and gives back
#   hand-over status           who has which function now
# hand-over.d/NAME beside this file says what is taken. Each step is written into /run before it is done.
# shellcheck disable=SC2005,SC2034,SC2046,SC2086,SC2154
set -u
umask 077
# shellcheck source=/dev/null
. "\${0%/*}/hand-over-facts"
name=\${2:-}
conf=\${0%/*}/hand-over.d/$name
state=$run/vfio-scripts/hand-over/$name
record=$state/record unit=vfio-scripts-hand-over@$name.service

say() {
  read -r now rest <"$proc/uptime"
  echo "$now $*" >>"$state/log"
  echo "hand-over: $name: $*" >&2
}

note() { echo "$*" >>"$record"; }
put() { echo "$1" >"$2"; }

# unit start|stop UNIT
unit() {
  say "$1 $2"
  if [ "$1" = start ]; then systemctl reset-failed "$2" 2>/dev/null; fi
  systemctl --no-block "$1" "$2"
  within 45 settled "$2" || say "$1 $2: not done in 45 s"
}

# user_unit start|stop UID UNIT: one of a user's own service manager
user_unit() {
  say "$1 $3 of user $2"
  systemctl --user --machine="$2@.host" --no-block "$1" "$3"
}

# Ends the sessions, and the users' services, that have the card, as far as hand-over.d says.
ask_holders() {
  allowed=" $(lines sessions "$conf") $(echo $(lines user-unit "$conf")) "
  holders $functions | while read -r pid cgroup rest; do
    last=\${cgroup##*/} uid=\${cgroup##*/user@}
    case $cgroup:$allowed in
      */user@*.service/*:' end '* | */user@*.service/*:*" $last "*)
        note user-unit "\${uid%%.service/*}" "$last"
        user_unit stop "\${uid%%.service/*}" "$last"
        ;;
      */session-*.scope:' end '*) unit stop "$last" ;;
    esac
  done
}

# fail WORDS...: all back, and the start of the guest is refused
fail() {
  say "$*"
  echo "$*" >"$state/why"
  give_back
  exit 1
}

# unbind ADDRESS: its driver lets go of it, in time. One in use is left alone: the write would hang in the kernel.
unbind() {
  is_on "$1" none && return
  is_free "$1" || return 1
  put "$1" "$pci/drivers/$(driver "$1")/unbind" &
  within 30 is_on "$1" none
}

# probe ADDRESS DRIVER
probe() {
  put "$1" "$pci/drivers_probe" &
  within 30 is_on "$1" "$2"
}

# unload MODULE: only one that nothing uses
unload() {
  [ -e "$sys/module/$1" ] || return 0
  [ "$(cat "$sys/module/$1/refcnt")" = 0 ] && modprobe -r "$1" && ! [ -e "$sys/module/$1" ]
}

take() {
  [ -r "$conf" ] || fail "there is no $conf"
  if [ -e "$record" ]; then give_back || fail "what was taken before is not back"; fi
  rm -f "$state/log" "$state/why"
  modprobe vfio-pci
  [ -e "$pci/drivers/vfio-pci" ] || fail "there is no vfio-pci"
  why=$(against)
  [ -z "$why" ] || fail "\${why%%"$nl"*}"
  say "takes $functions"
  for one in $(lines stop "$conf"); do
    case $(job_of "$one"):$(state_of "$one") in
      [1-9]* | *:active)
        note unit "$one"
        unit stop "$one"
        ;;
    esac
  done
  # The service manager of a user ends ten seconds after the last session.
  is_free $functions || ask_holders
  within 40 is_free $functions || fail "it is in use: $held"
  for at in $(for one in $functions; do echo "$dev/dri/by-path/pci-$one-"*; done); do
    [ -e "$at" ] && note node "$at"
  done
  for at in $(lines consoles "$conf" | grep -q . && echo "$sys"/class/vtconsole/*); do
    case $(cat "$at/bind"):$(cat "$at/name") in
      1:*'frame buffer'*)
        note console "\${at##*/}"
        say "unbinds the console \${at##*/}"
        put 0 "$at/bind"
        ;;
    esac
  done
  modules=
  for one in $functions; do
    if is_on "$one" nvidia; then modules='nvidia_uvm nvidia_drm nvidia_modeset nvidia'; fi
    for at in $([ -z "$(framebuffer "$one")" ] || echo "$sys"/bus/platform/drivers/*-framebuffer/*-framebuffer.*); do
      [ -e "$at" ] || continue
      note platform "\${at%/*}" "\${at##*/}"
      say "unbinds \${at##*/}"
      put "\${at##*/}" "\${at%/*}/unbind"
    done
  done
  for one in $modules; do [ -e "$sys/module/$one" ] && note module "$one"; done
  for one in $functions; do
    note driver "$one" "$(driver "$one")" "$(cat "$pci/devices/$one/driver_override")"
  done
  for one in $modules; do within 15 unload "$one" || fail "the module $one is in use"; done
  for one in $functions; do
    is_on "$one" vfio-pci && continue
    say "$one goes from $(driver "$one") to vfio-pci"
    put vfio-pci "$pci/devices/$one/driver_override"
    unbind "$one" || fail "$one: $(driver "$one") does not let go\${held:+, in use again: $held}"
    probe "$one" vfio-pci || fail "$one is not on vfio-pci; the kernel log says why"
  done
  for one in $(lines start "$conf"); do
    note started "$one"
    unit start "$one"
  done
  say away
}

# put_back ADDRESS DRIVER OVERRIDE: with its name as the override, no other driver takes it
put_back() {
  at=$pci/devices/$1
  if ! is_on "$1" "$2"; then
    say "$1 goes from $(driver "$1") to $2"
    put "$2" "$at/driver_override"
    unbind "$1" || return 1
    [ "$2" = none ] || [ -e "$pci/drivers/$2" ] || modprobe "$(cat "$at/modalias")"
    is_on "$1" "$2" || probe "$1" "$2" || return 1
  fi
  put "\${3#"(null)"}" "$at/driver_override"
}

# undo KIND WORDS...: a recorded step, which may not have been done
undo() {
  case $1 in
    started) unit stop "$2" ;;
    driver)
      if ! put_back "$2" "$3" "$4"; then
        say "$2 is not back on $3: it is on $(driver "$2"), and the kernel log says why"
        kept="$kept$*$nl"
      fi
      ;;
    module) [ -e "$sys/module/$2" ] || modprobe "$2" ;;
    platform) [ -e "$2/$3" ] || put "$3" "$2/bind" ;;
    console) [ "$(cat "$sys/class/vtconsole/$2/bind")" = 1 ] || put 1 "$sys/class/vtconsole/$2/bind" ;;
    node)
      within 20 [ -e "$2" ] || say "$2 is not there again"
      udevadm settle --timeout=20
      ;;
    user-unit) user_unit start "$2" "$3" || say "$3 of user $2 is not started again" ;;
    unit) [ "$(state_of "$2")" = active ] || unit start "$2" ;;
  esac
}

# Takes the recorded steps back, the last one first. While the host shuts down it starts nothing.
give_back() {
  [ -e "$record" ] || return 0
  [ "$(systemctl is-system-running)" != stopping ] || return 0
  for one in $(lines driver "$record" | sed 's/ .*//'); do
    is_on "$one" vfio-pci || continue
    within 20 is_free "$one" || say "not given back, the guest has it: $held"
    [ -z "$held" ] || return 1
  done
  say 'gives back'
  back='' kept=''
  while read -r line; do back=$line$nl$back; done <"$record"
  while read -r one two three four <&3; do undo "$one" "$two" "$three" "$four"; done 3<<END
$back
END
  if [ -n "$kept" ]; then
    echo "\${kept%"$nl"}" >"$record"
    return 1
  fi
  rm -f "$record"
  say 'all is back'
}

# The guest has two minutes to come, and libvirt 20 seconds to notice that it ended.
watch() {
  idle=0 limit=120
  while [ -e "$record" ]; do
    sleep 5
    idle=$((idle + 5))
    if in_use; then idle=0 limit=20; fi
    [ "$idle" -ge "$limit" ] || continue
    say 'no guest has it'
    systemctl stop "$unit"
    give_back || exit 1
  done
}

functions=
[ ! -r "$conf" ] || functions=$(echo $(lines function "$conf" | sed 's/ .*//'))
case \${1:-}:$name in
  status:)
    for conf in "\${0%/*}"/hand-over.d/*; do
      for one in $(lines function "$conf" | sed 's/ .*//'); do echo "\${conf##*/} $one $(driver "$one")"; done
    done
    exit
    ;;
  *: | *:.* | *:*/*) echo 'hand-over: take, give-back, watch, rehearse or return, and a guest' >&2 && exit 2 ;;
esac
mkdir -p "$state"
case $1 in
  take | rehearse)
    trap 'fail "it was interrupted"' HUP INT TERM
    take
    [ "$1" = take ] && exit
    sleep 10
    give_back
    ;;
  give-back) give_back ;;
  watch) watch ;;
  return)
    in_use && virsh -c qemu:///system shutdown "$name" && within 90 has_ended
    in_use && virsh -c qemu:///system destroy "$name"
    systemctl stop "$unit"
    give_back
    ;;
  *) echo "hand-over: $1: not known" >&2 && exit 2 ;;
esac
`
}
