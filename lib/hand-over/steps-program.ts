import { HAND_OVER } from './hand-over-paths.ts'

export const HAND_OVER_STEPS = `${HAND_OVER}-steps`

/**
 * Returns the part of the program that does single steps, there and back, in POSIX shell as dash, bash and busybox have it.
 * What may hang in the kernel is waited for only so long: whoever then touches the device hangs too, for the driver core
 * locks it, also to read or write driver_override.
 * Source: Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe), drivers/base/dd.c, systemctl(1),
 * Documentation/driver-api/console.rst, drivers/tty/vt/vt.c (vt_bind), drivers/vfio/vfio_main.c (unbinding waits until the
 * group is closed).
 */
export function handOverSteps(head: string): string {
  return `${head}# The single steps of a hand-over; hand-over reads this file.
# shellcheck shell=sh disable=SC2034,SC2086,SC2154

say() {
  read -r now _ <"$proc/uptime"
  echo "$now $*" >>"$state/log"
  echo "hand-over: $name: $*" >&2
}

# note WORDS...: what is about to be done
note() { echo "$*" >>"$record" || fail 'the record cannot be written'; }
put() { echo "$1" >"$2"; }

# bounded SECONDS COMMAND...: does it succeed in time? One that hangs is left behind.
bounded() {
  count=$((\${count:-0} + 1))
  pending=$state/result.$$.$count
  patience=$1
  shift
  {
    "$@"
    echo $? >"$pending"
  } 9>&- &
  within "$patience" [ -s "$pending" ] || { pending='' && return 1; }
  read -r code <"$pending"
  rm -f "$pending"
  pending=''
  return "$code"
}

# unit start|stop UNIT
unit() {
  say "$1 $2"
  if [ "$1" = start ]; then timeout 20 systemctl reset-failed "$2" 2>/dev/null; fi
  timeout 100 systemctl "$1" "$2"
}

# user_systemctl UID WORDS...: a user's own service manager
user_systemctl() {
  owner=$1
  shift
  timeout 20 systemctl --user --machine="$owner@.host" "$@"
}

# stop_user_unit UID UNIT: a service goes with the sockets that would start it again
stop_user_unit() {
  say "stop $2 of user $1"
  sockets=''
  case $2 in
    *.service)
      sockets=$(user_systemctl "$1" show --property=TriggeredBy --value "$2")
      for one in "$2" $sockets; do note user-unit "$1" "$one"; done
      ;;
  esac
  user_systemctl "$1" --no-block stop $sockets "$2"
}

# Ends the sessions, and the users' services, that have the card, as far as hand-over.d says.
ask_holders() {
  ends=$(lines sessions "$conf") own=" $(lines user-unit "$conf" | tr '\\n' ' ') "
  asked=' '
  while read -r pid cgroup _ <&3; do
    case $cgroup in
      */user@*.service/init.scope*) continue ;;
      */user@*.service/*)
        user=\${cgroup##*/user@}
        one=\${user#*.service/} user=\${user%%.service/*}
        # The service, not a control group inside it; else the scope.
        while [ "$one" != "\${one#*/}" ]; do
          case \${one%%/*} in *.service) one=\${one%%/*} ;; *) one=\${one#*/} ;; esac
        done
        ;;
      */session-*.scope*)
        user='' one=\${cgroup#*/session-}
        one=session-\${one%%/*}
        ;;
      *) continue ;;
    esac
    case $ends:$own$asked in
      *" $user:$one "*) continue ;;
      end:* | *" $one "*) asked="$asked$user:$one " ;;
      *) continue ;;
    esac
    if [ -n "$user" ]; then
      stop_user_unit "$user" "$one"
    elif [ "$ends" = end ]; then
      unit stop "$one"
    fi
  done 3<<END
$(holders $functions)
END
}

# unbind ADDRESS: its driver lets go of it, in time. One in use is left alone: the write would hang in the kernel.
unbind() {
  held=''
  is_on "$1" none && return
  is_free "$1" || return 1
  bounded 30 put "$1" "$pci/drivers/$(driver "$1")/unbind"
  within 5 is_on "$1" none
}

# probe ADDRESS DRIVER
probe() {
  bounded 60 put "$1" "$pci/drivers_probe"
  within 5 is_on "$1" "$2"
}

# unload MODULE: only one that nothing uses
unload() {
  [ -e "$sys/module/$1" ] || return 0
  read -r users <"$sys/module/$1/refcnt" && [ "$users" = 0 ] && bounded 30 rmmod "$1" && ! [ -e "$sys/module/$1" ]
}

# bind_consoles 0|1: the text consoles that show on a framebuffer
bind_consoles() {
  for at in "$sys"/class/vtconsole/*; do
    case $(cat "$at/name" 2>/dev/null) in
      *'frame buffer'*) [ "$(cat "$at/bind")" = "$1" ] || bounded 20 put "$1" "$at/bind" ;;
    esac
  done
  ! has_console $((1 - $1))
}
any_console() { has_console 0 || has_console 1; }

# back_on_console: a driver that comes anew takes the console. The kernel itself binds it again only where a console
# that it was built with is left, and there is none once a driver has switched that of VGA off.
back_on_console() {
  within 10 any_console && bind_consoles 1 && return
  for one in $functions; do
    case $(cat "$pci/devices/$one/class") in 0x03*) ;; *) continue ;; esac
    own=$(driver "$one")
    case $own in none | vfio-pci | nvidia) continue ;; esac
    say "$own takes $one anew, for the text console"
    read -r override <"$pci/devices/$one/driver_override"
    bounded 30 put "$own" "$pci/devices/$one/driver_override"
    unbind "$one"
    probe "$one" "$own"
    bounded 30 put "\${override#"(null)"}" "$pci/devices/$one/driver_override"
  done
  within 10 has_console 1
}

# put_back ADDRESS VENDOR:DEVICE DRIVER MODULE OVERRIDE: with its name as the override, no other driver takes it
put_back() {
  at=$pci/devices/$1
  is_what "$1" "\${2%:*} \${2#*:}" || return 1
  if ! is_on "$1" "$3"; then
    say "$1 goes from $(driver "$1") to $3"
    bounded 30 put "$3" "$at/driver_override" || return 1
    unbind "$1" || return 1
    if [ "$3" != none ]; then
      [ -e "$pci/drivers/$3" ] || [ "$4" = - ] || bounded 60 modprobe "$4"
      is_on "$1" "$3" || probe "$1" "$3" || return 1
    fi
  fi
  bounded 30 put "\${5#"(null)"}" "$at/driver_override"
}

# why_not ADDRESS VENDOR:DEVICE DRIVER
why_not() {
  if ! [ -e "$pci/devices/$1" ]; then
    echo "$1 is gone from the bus"
  elif ! is_what "$1" "\${2%:*} \${2#*:}"; then
    echo "$1 is another device now, which is left alone"
  else
    echo "$1 is not back on $3, it is on $(driver "$1")\${held:+ and in use: $held}; the kernel log says why"
  fi
}

# undo KIND WORDS...: a recorded step, which may not have been done. 1: it is to be tried again.
undo() {
  case $1 in
    tuned) alone untune ;;
    started) unit stop "$2" || say "$2 does not stop" ;;
    driver)
      shift
      if ! put_back "$@"; then
        say "$(why_not "$@")"
        return 1
      fi
      ;;
    module) [ -e "$sys/module/$2" ] || bounded 60 modprobe "$2" || say "the module $2 is not loaded again" ;;
    platform)
      [ -e "$2/$3" ] || bounded 20 put "$3" "$2/bind" ||
        say 'the picture of the firmware does not come back; text consoles may stay dark until the host boots'
      ;;
    consoles) back_on_console || say 'the text console is not back' ;;
    node) within 20 [ -e "$2" ] || say "$2 is not there again" ;;
    settle) udevadm settle --timeout=20 ;;
    user-unit)
      # One that ended with its user's session starts with the next one.
      [ "$(state_of "user@$2.service")" != active ] || user_systemctl "$2" --no-block start "$3" ||
        say "$3 of user $2 is not started again"
      ;;
    unit) [ "$(state_of "$2")" = active ] || unit start "$2" || say "$2 does not start: journalctl -u $2 says why" ;;
  esac
  return 0
}
`
}
