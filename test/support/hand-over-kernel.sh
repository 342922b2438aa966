# A kernel and a systemd in the folder $ROOT, for the program of hand-over, which reads this file after its own functions:
# what it writes and runs acts here at once, in its own process. shellcheck shell=sh disable=SC2034,SC2154,SC1090
# $ROOT/faults: lines of `hang PATTERN` or `fail PATTERN`, matched against the step. $KILL_AT: the step before which the
# program is killed. $ROOT/each: shell that runs at each step, $ROOT/tick: as time passes. $ROOT/steps has all steps, $ROOT/wrong what a real machine would not forgive.
wrong() { echo "$*" >>"$ROOT/wrong"; }

# step WORDS…: one that may fail, hang, or be the last one
step() {
  echo "$*" >>"$ROOT/steps"
  if [ -e "$ROOT/each" ]; then . "$ROOT/each"; fi
  if [ -n "${KILL_AT:-}" ] && [ "$(wc -l <"$ROOT/steps")" -ge "$KILL_AT" ]; then
    command kill -9 "$$"
    exit 137
  fi
  while read -r fault pattern; do
    case "$*" in
      $pattern)
        if [ "$fault" = fail ]; then return 1; fi
        echo >"$pending.hung"
        case $1 in put) echo >"$ROOT/locked-$(address_of "$2" "$3")" ;; esac
        exit 0
        ;;
    esac
  done <"$ROOT/faults"
}

address_of() {
  case $2 in */devices/*) at=${2%/*} && echo "${at##*/}" ;; *) echo "$1" ;; esac
}

# Time passes only here: what is pending is waited for, unless it hangs.
sleep() {
  if [ -n "${pending:-}" ]; then
    until [ -s "$pending" ] || [ -e "$pending.hung" ]; do command sleep 0.01; done
  fi
  read -r now _ <"$ROOT/proc/uptime"
  case $1 in *.*) tenths=${1#*.} ;; *) tenths=0 ;; esac
  tenths=$((${now%.*} * 10 + ${now#*.} + ${1%.*} * 10 + tenths))
  echo "$((tenths / 10)).$((tenths % 10)) 0" >"$ROOT/proc/uptime"
  if [ -e "$ROOT/tick" ]; then . "$ROOT/tick"; fi
}
timeout() { shift && "$@"; }

note() { step note "$@" && real_note "$@"; }
mv() { step mv record && command mv "$@"; }
rm() {
  case "$*" in *record*) step rm record || return ;; esac
  command rm "$@"
}
udevadm() { step udevadm "$@" && echo >"$ROOT/settled"; }
kill() { step kill "$@" && command rm -rf "$ROOT/proc/$2"; }
plymouth() { step plymouth "$@" && if [ -e "$ROOT/splash" ]; then command rm -rf "$ROOT/proc/300"; fi; }
virsh() { step virsh "$@" && if [ -e "$ROOT/virsh" ]; then . "$ROOT/virsh"; fi; }

# ends UNIT, begins UNIT: its processes
ends() { if [ -d "$ROOT/units/$1.processes" ]; then for at in "$ROOT/units/$1.processes"/*; do command rm -rf "$ROOT/proc/${at##*/}"; done; fi; }
begins() { if [ -d "$ROOT/units/$1.processes" ]; then cp -a "$ROOT/units/$1.processes/." "$ROOT/proc/"; fi; }

systemctl() {
  home=$ROOT/units
  for word in "$@"; do
    case $word in --user) home=$ROOT/units/user ;; esac
  done
  while :; do case $1 in --user | --machine=* | --no-block) shift ;; *) break ;; esac; done
  case "$*" in
    'show --property=ActiveState --value '*) cat "$home/$4" 2>/dev/null || echo inactive ;;
    'show --property=TriggeredBy --value '*) cat "$home/$4.triggers" 2>/dev/null || : ;;
    show*) ;;
    is-system-running) cat "$ROOT/system" ;;
    reset-failed*) echo >"$ROOT/reset-$2" ;;
    *' vfio-scripts-hand-over@'*)
      step systemctl "$@" || return
      if [ "$(cat "$home/$2" 2>/dev/null)" = active ]; then
        echo inactive >"$home/$2"
        sh "$ROOT/etc/hand-over" give-back win11
      fi
      ;;
    stop*)
      step systemctl "$@" || return
      shift
      for one_unit in "$@"; do
        if [ -e "$home/$one_unit" ]; then echo inactive >"$home/$one_unit"; fi
        ends "$one_unit"
      done
      ;;
    start*)
      step systemctl "$@" || return
      if [ "$2" = gdm.service ]; then
        [ -e "$ROOT/reset-$2" ] || wrong "$2 starts without reset-failed"
        [ -e "$ROOT/settled" ] || wrong "$2 starts before udev has settled"
        [ -e "$ROOT/dev/dri/by-path/pci-0000:01:00.0-card" ] || wrong "$2 starts without the card"
      fi
      [ "$(cat "$home/$2" 2>/dev/null)" != active ] || return 0
      echo active >"$home/$2"
      begins "$2"
      ;;
    *) wrong "systemctl $*" ;;
  esac
}

module_of() { echo "$1" | tr - _; }
uses() { for at in "$@"; do if [ -e "$ROOT/sys/module/$at/refcnt" ]; then read -r n <"$ROOT/sys/module/$at/refcnt" && echo $((n + by)) >"$ROOT/sys/module/$at/refcnt"; fi; done; }

# appear ADDRESS DRIVER: what the driver makes of it
appear() {
  dir=$(readlink -f "$ROOT/sys/bus/pci/devices/$1")
  read -r class <"$dir/class"
  case $2:$class in
    vfio-pci:*)
      group=$(readlink "$dir/iommu_group")
      mkdir -p "$ROOT/dev/vfio"
      echo >"$ROOT/dev/vfio/${group##*/}"
      ;;
    nvidia:0x03*) echo >"$ROOT/dev/nvidia0" ;;
    *:0x03*) picture "$dir" "$1" ;;
    *:0x0403*) node "$dir" sound/card1/controlC1 116:7 snd/controlC1 ;;
  esac
}
disappear() {
  dir=$(readlink -f "$ROOT/sys/bus/pci/devices/$1")
  command rm -rf "$dir/drm" "$dir/sound" "$dir/graphics" "$ROOT/dev/dri/by-path/pci-$1-card"
  for link in "$ROOT"/sys/dev/char/*; do
    if [ -L "$link" ] && ! [ -e "$link" ]; then command rm "$link"; fi
  done
  case $2 in
    vfio-pci)
      for mate in "$dir"/iommu_group/devices/*; do
        if is_on "${mate##*/}" vfio-pci; then return; fi
      done
      group=$(readlink "$dir/iommu_group")
      command rm "$ROOT/dev/vfio/${group##*/}"
      ;;
    nvidia) command rm -f "$ROOT/dev/nvidia0" ;;
  esac
}
# node DIRECTORY PATH NUMBERS NAME
node() {
  mkdir -p "$1/$2" "$ROOT/sys/dev/char" "$ROOT/dev/${4%/*}"
  echo "DEVNAME=$4" >"$1/$2/uevent"
  ln -sfn "../..${1#"$ROOT/sys"}/$2" "$ROOT/sys/dev/char/$3"
  echo >"$ROOT/dev/$4"
}
# picture DIRECTORY ADDRESS: a DRM device, whose number is never the same again where the test wants it so
picture() {
  number=0
  if [ -e "$ROOT/numbers" ]; then read -r number <"$ROOT/numbers" && echo $((number + 1)) >"$ROOT/numbers"; fi
  node "$1" "drm/card$number" "226:$number" "dri/card$number"
  mkdir -p "$ROOT/dev/dri/by-path"
  ln -sfn "../card$number" "$ROOT/dev/dri/by-path/pci-$2-card"
  echo 1 >"$ROOT/sys/class/vtconsole/vtcon1/bind"
  command rm -f "$ROOT/settled"
}

bind() {
  [ -e "$ROOT/sys/bus/pci/drivers/$2" ] && step bind "$1" "$2" || return 1
  ln -s "../../../../bus/pci/drivers/$2" "$ROOT/sys/bus/pci/devices/$1/driver"
  ln -s "../../../../devices/pci0000:00/0000:00:01.0/$1" "$ROOT/sys/bus/pci/drivers/$2/$1"
  appear "$1" "$2"
}

# release ADDRESS: its driver lets go of it; one in use would hang for ever
release() {
  old=$(driver "$1")
  is_free "$1" || wrong "$1 is unbound from $old while in use: $held"
  if [ "$old" = nvidia ]; then wrong "$1 is unbound from nvidia"; fi
  command rm "$ROOT/sys/bus/pci/devices/$1/driver" "$ROOT/sys/bus/pci/drivers/$old/$1"
  disappear "$1" "$old"
}

# match ADDRESS: the driver that would bind it
match() {
  read -r override <"$ROOT/sys/bus/pci/devices/$1/driver_override"
  if [ "$override" = '(null)' ]; then cat "$ROOT/native-$1"; else echo "$override"; fi
}

put() {
  step put "$1" "${2#"$ROOT/"}" || return 1
  target=${2#"$ROOT/"}
  device=$(address_of "$1" "$target")
  if [ -e "$ROOT/locked-$device" ]; then echo >"$pending.hung" && exit 0; fi
  if ! [ -e "$2" ] && [ "$target" != sys/bus/pci/drivers_probe ]; then return 1; fi
  case $target in
    */driver_override) echo "${1:-(null)}" >"$2" ;;
    sys/bus/pci/drivers/*/unbind) release "$1" ;;
    sys/bus/pci/drivers_probe) is_on "$1" none || return 0 && bind "$1" "$(match "$1")" || : ;;
    sys/bus/platform/drivers/*/unbind) command rm "${2%/*}/$1" ;;
    sys/bus/platform/drivers/*/bind) [ -e "$ROOT/sys/bus/platform/devices/$1" ] && echo >"${2%/*}/$1" ;;
    sys/class/vtconsole/*/bind) echo "$1" >"$2" ;;
    *) wrong "put $*" ;;
  esac
}

# What each of NVIDIA's modules uses.
below() { case $1 in nvidia_uvm | nvidia_modeset) echo nvidia ;; nvidia_drm) echo nvidia_modeset ;; esac; }

modprobe() {
  step modprobe "$1" || return 1
  name_of=$(module_of "$1")
  [ ! -e "$ROOT/sys/module/$name_of" ] || return 0
  for lower in $(below "$name_of"); do modprobe "$lower" || return 1; name_of=$(module_of "$1"); done
  if [ -e "$ROOT/no-$name_of" ]; then return 1; fi
  mkdir -p "$ROOT/sys/module/$name_of"
  echo 0 >"$ROOT/sys/module/$name_of/refcnt"
  by=1 && uses $(below "$name_of")
  case $name_of in
    vfio_pci | amdgpu | snd_hda_intel) new_driver "$(echo "$1" | sed 's/vfio_pci/vfio-pci/')" "$name_of" ;;
    nvidia)
      new_driver nvidia nvidia
      if ! is_on 0000:01:00.0 nvidia; then
        wrong 'nvidia is loaded without a device'
        return 1
      fi
      ;;
    nvidia_drm) picture "$(readlink -f "$ROOT/sys/bus/pci/devices/0000:01:00.0")" 0000:01:00.0 ;;
  esac
}
new_driver() {
  mkdir -p "$ROOT/sys/bus/pci/drivers/$1"
  ln -sfn "../../../../module/$2" "$ROOT/sys/bus/pci/drivers/$1/module"
  echo >"$ROOT/sys/bus/pci/drivers/$1/unbind"
  for own in "$ROOT"/sys/bus/pci/devices/*; do
    own=${own##*/}
    if is_on "$own" none && [ "$(match "$own")" = "$1" ]; then bind "$own" "$1"; fi
  done
}
rmmod() {
  step rmmod "$1" || return 1
  if [ "$(cat "$ROOT/sys/module/$1/refcnt")" != 0 ]; then
    wrong "$1 is removed while in use"
    return 1
  fi
  case $1 in
    nvidia_drm) disappear 0000:01:00.0 drm ;;
    nvidia)
      command rm "$ROOT/sys/bus/pci/devices/0000:01:00.0/driver" "$ROOT/dev/nvidia0"
      command rm -r "$ROOT/sys/bus/pci/drivers/nvidia"
      ;;
  esac
  command rm -r "$ROOT/sys/module/$1"
  by=-1 && uses $(below "$1")
}
