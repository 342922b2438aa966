import { UserError } from '../core/error.ts'
import { hasSystemd } from '../host/find-program.ts'
import type { Reader } from '../host/reader.ts'
import { claimsOf, type JournalRecord, nextNumber } from './journal.ts'
import { JOURNAL } from './journal-entry.ts'
import { type CommandChange, changesFor, type Plan } from './plan.ts'
import { addSetting, headComment, type PlannedSetting } from './settings.ts'
import { contentReader } from './undo.ts'

/** The owner of the confirm timer's settings in the journal. */
export const CONFIRM = 'confirm'

const UNIT = 'vfio-scripts-confirm'
const UNITS = '/etc/systemd/system'
const TIMER = `${UNITS}/${UNIT}.timer`
const LOCAL = `/etc/local.d/${UNIT}.start`

/** Returns the seconds in `10m`, `90s`, `2h`; a number alone is minutes. Throws a UserError with code `usage`. */
export function parseTime(option: string, text: string): number {
  const [, digits, unit = 'm'] = /^(\d{1,5})([smh]?)$/.exec(text) ?? []
  const seconds = Number(digits) * ({ s: 1, m: 60, h: 3600 }[unit || 'm'] ?? 60)
  if (digits === undefined || seconds < 60)
    throw new UserError('usage', `${option} ${text}: not a time; write 10m or 1h, one minute at least`)
  return seconds
}

/**
 * Returns the plan with a dead man's switch: a timer that runs the undo.sh of this same entry, and reboots where that
 * is needed, unless the person confirms in time (`seconds`, counted from the next boot where one is needed). The switch
 * is part of the entry, so undo.sh takes it back too. Source: systemd.timer(5); OpenRC's local service.
 * Throws a UserError: `unknown-system` where neither systemd nor OpenRC's local would run it, `unconfirmed` where
 * another change still waits.
 */
export function withConfirmTimer(
  { files, running }: { files: Reader; running: boolean },
  journal: readonly JournalRecord[],
  plan: Plan,
  script: string,
  seconds: number,
): Plan {
  const waiting = claimsOf(journal).find(({ owner }) => owner === CONFIRM)?.entry.entry.script
  if (waiting !== undefined)
    throw new UserError(
      'unconfirmed',
      `another change still waits: ${waiting} --confirm, or ${waiting} --undo --apply, first`,
    )
  const undo = `${JOURNAL}/${String(nextNumber(journal)).padStart(4, '0')}/undo.sh`
  // A system that does not run now shows the result of the change only after its next boot.
  const reboot = plan.rebootNeeded || !running
  const head = headComment(script)
  const systemd = hasSystemd(files)
  const settings = systemd
    ? timerSettings(files, head, undo, seconds, reboot)
    : localServiceSettings(files, head, undo, seconds, reboot)
  const own = changesFor(settings, contentReader(files), addSetting)
  const [written, run] = [
    plan.changes.filter(({ kind }) => kind === 'file'),
    plan.changes.filter(({ kind }) => kind !== 'file'),
  ]
  const note = `Unless ${script} --confirm follows within ${timeText(seconds)}${reboot ? ' of the next boot' : ''}, all of this is taken back${reboot ? ', and the machine reboots' : ''}.`
  return {
    ...plan,
    changes: [...own, ...written, ...run, ...(systemd && running ? startTimerCommands(reboot) : [])],
    settings: [...plan.settings, ...settings],
    notes: [...plan.notes, note],
  }
}

/** Returns the commands that start the switch, and stop it on undo. A switch that waits for a boot starts with it. */
function startTimerCommands(reboot: boolean): CommandChange[] {
  const stop = ['systemctl', 'stop', `${UNIT}.timer`]
  const load = ['systemctl', 'daemon-reload']
  const commands: CommandChange[] = [
    { kind: 'command', argv: load, inverse: load, touches: [], reason: 'for the switch' },
    {
      kind: 'command',
      argv: ['systemctl', 'start', `${UNIT}.timer`],
      inverse: stop,
      touches: [],
      reason: 'the switch',
    },
  ]
  return reboot ? commands.slice(0, 1) : commands
}

/** Is this file a part of the switch? */
export function isConfirmFile(path: string): boolean {
  return path.includes(`/${UNIT}.`) || path.endsWith('/timers.target.d/vfio-scripts.conf')
}

/** Returns the command that stops the switch when its timer file is among the removed `paths`, on a running system. */
export function stopTimerCommands({ running }: { running: boolean }, paths: readonly string[]): CommandChange[] {
  if (!running || !paths.includes(TIMER)) return []
  const argv = ['systemctl', 'stop', `${UNIT}.timer`]
  return [{ kind: 'command', argv, inverse: argv, touches: [], reason: 'the switch' }]
}

function timerSettings(files: Reader, head: string, undo: string, seconds: number, reboot: boolean): PlannedSetting[] {
  const reason = 'takes this back unless it is confirmed'
  const own = (path: string, section: string, line: string): PlannedSetting => {
    const folder = path.replace(/\/[^/]*$/, '')
    const place = `${files.resolve(folder) ?? folder}${path.slice(folder.length)}`
    return { kind: 'file', path: place, content: `${head}${section}${line}\n`, owners: [CONFIRM], reason }
  }
  const run = '[Unit]\nDescription=Takes back what was not confirmed\n\n[Service]\nType=oneshot\n'
  // One command, not two: undo.sh removes this unit itself, and after a reload systemd would not find a second one.
  // Where undo.sh fails, the machine runs on as it is, and the switch tries again after the next boot.
  const back = `/bin/sh ${undo} --with-later`
  const start = reboot ? `/bin/sh -c '${back} && /bin/systemctl --no-block reboot'` : back
  const when = reboot ? 'OnBootSec' : 'OnActiveSec'
  return [
    own(`${UNITS}/${UNIT}.service`, run, `ExecStart=${start}`),
    own(TIMER, `[Unit]\nDescription=Waits for the confirmation\n\n[Timer]\n`, `${when}=${seconds}s`),
    ...(reboot ? [own(`${UNITS}/timers.target.d/vfio-scripts.conf`, '[Unit]\n', `Wants=${UNIT}.timer`)] : []),
  ]
}

function localServiceSettings(
  files: Reader,
  head: string,
  undo: string,
  seconds: number,
  reboot: boolean,
): PlannedSetting[] {
  if (!files.exists('/etc/local.d') || !reboot)
    throw new UserError(
      'unknown-system',
      '--confirm-within is done by a timer of systemd, or after a boot by the local service of OpenRC; neither is here',
    )
  const path = `${files.resolve('/etc/local.d') ?? '/etc/local.d'}/${UNIT}.start`
  return [
    {
      kind: 'file',
      path,
      content: `#!/bin/sh\n${head}(sleep ${seconds}; [ ! -e ${LOCAL} ] || { sh ${undo} --with-later && reboot; }) &\n`,
      mode: 0o755,
      owners: [CONFIRM],
      reason: 'takes this back unless it is confirmed',
    },
  ]
}

function timeText(seconds: number): string {
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`
}
