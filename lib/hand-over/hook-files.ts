import { headComment, type SettingOf } from '../change/settings.ts'
import { HAND_OVER_CPUS, handOverCpus } from './cpu-program.ts'
import { HAND_OVER_FACTS, handOverFacts } from './facts-program.ts'
import { HAND_OVER, HOOK, UNIT, WHILE_RUNNING } from './hand-over-paths.ts'
import { handOverProgram } from './main-program.ts'
import { HAND_OVER_STEPS, handOverSteps } from './steps-program.ts'
import { HAND_OVER_TUNING, handOverTuning } from './tuning-program.ts'

const UNITS = '/etc/systemd/system'
const HEAD = headComment('hand-over')

/**
 * The hook of libvirt, which only starts and stops a unit: AppArmor and SELinux confine what a hook does itself. It knows the
 * guest by the UUID of the XML on its standard input. A failure in reconnect would end a running guest, and its
 * standard output would be the XML of a migrated one. A unit that is active from an earlier start took nothing for this
 * one, so that it is started anew.
 * Source: https://libvirt.org/hooks.html; src/util/virhook.c and src/qemu/qemu_process.c of libvirt.
 */
export const HOOK_PROGRAM = `#!/bin/sh
${HEAD}# Called by libvirt with the name of a guest, an operation and its part; the XML of the guest is on standard input.
case \${2:-} in
  prepare | release) ;;
  # started, stopped and reconnect need nothing; migrate and restore would take what is printed for the guest's XML.
  *) exit 0 ;;
esac
case $2-\${3:-} in
  prepare-begin | release-end) ;;
  *) exit 0 ;;
esac
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin

uuid=
while IFS= read -r line || [ -n "$line" ]; do
  case $line in
    *'<uuid>'*'</uuid>'*)
      if [ -z "$uuid" ]; then
        uuid=\${line#*<uuid>}
        uuid=\${uuid%%</uuid>*}
      fi
      ;;
  esac
done

for guest in ${HAND_OVER}.d/* ${WHILE_RUNNING}/*; do
  name=\${guest##*/}
  case $guest in ${WHILE_RUNNING}/*) [ ! -e "${HAND_OVER}.d/$name" ] || continue ;; esac
  unit=${UNIT}@$name.service
  why=/run/vfio-scripts/hand-over/$name/why
  if [ -z "$uuid" ] && [ "$name" = "\${1:-}" ] && [ "$2" = prepare ]; then
    echo "hand-over: the XML of $name has no UUID" >&2
    exit 1
  fi
  if [ -z "$uuid" ] || ! grep -qixF "uuid $uuid" "$guest" 2>/dev/null; then
    continue
  fi
  if [ "$2" = release ]; then
    timeout 700 systemctl stop "$unit" >/dev/null 2>&1
    continue
  fi
  rm -f "$why" 2>/dev/null
  if ! timeout 1000 systemctl restart "$unit" >/dev/null 2>&1; then
    reason="$unit does not start; journalctl -u $unit says why"
    if [ -r "$why" ]; then
      read -r reason <"$why"
    fi
    echo "hand-over: $name: $reason" >&2
    exit 1
  fi
done
exit 0
`

/**
 * A step that was cut short is taken back too: ExecStopPost= runs after a failed start. A write that hangs in the kernel
 * cannot be ended, and the unit does not wait for it (KillMode=). Source: systemd.service(5), systemd.kill(5).
 */
const MAIN_UNIT = `${HEAD}[Unit]
Description=Hand a card over to the guest %i
Wants=${UNIT}-watch@%i.service
Before=${UNIT}-watch@%i.service
StartLimitIntervalSec=0

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh ${HAND_OVER} take %i
ExecStopPost=/bin/sh ${HAND_OVER} give-back %i
KillMode=process
TimeoutStartSec=300
TimeoutStopSec=300
`

const WATCH_UNIT = `${HEAD}[Unit]
Description=Give a card back when the guest %i is gone

[Service]
ExecStart=/bin/sh ${HAND_OVER} watch %i
Restart=on-failure
RestartSec=5
`

/** Returns the settings that every guest with a hand-over shares. */
export function handOverFiles(): SettingOf<'file'>[] {
  const own = (path: string, content: string, reason: string, mode = 0o644): SettingOf<'file'> => {
    return { kind: 'file', path, content, reason, mode }
  }
  return [
    own(HAND_OVER_FACTS, handOverFacts(HEAD), 'who has a card', 0o600),
    own(HAND_OVER_STEPS, handOverSteps(HEAD), 'the single steps, there and back', 0o600),
    own(HAND_OVER_CPUS, handOverCpus(HEAD), 'whose CPUs are whose while guests run', 0o600),
    own(HAND_OVER_TUNING, handOverTuning(HEAD), 'CPUs, huge pages and clocks while guests run', 0o600),
    own(HAND_OVER, handOverProgram(HEAD), 'takes a card, and gives it back', 0o700),
    own(`${UNITS}/${UNIT}@.service`, MAIN_UNIT, 'runs it outside of libvirt'),
    own(`${UNITS}/${UNIT}-watch@.service`, WATCH_UNIT, 'gives back what no guest uses'),
  ]
}

/** Returns the setting of libvirt's hook, and nothing else. */
export function hookFile(): SettingOf<'file'> {
  const reason = 'libvirt calls it when a guest starts and has stopped'
  return { kind: 'file', path: HOOK, content: HOOK_PROGRAM, reason, mode: 0o755 }
}
