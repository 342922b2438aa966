import { checksFor } from '../checks/check.ts'
import { HAND_OVER_GUARDS } from '../checks/hand-over-guards.ts'
import { libvirtHookCheck } from '../checks/libvirt-hook.ts'
import { GUARDS } from '../checks/registry.ts'
import type { CheckName } from '../core/finding.ts'
import { expectGuestName } from '../hand-over/hand-over-paths.ts'
import { isAway, RECORDS } from '../hand-over/read-hand-over.ts'
import type { Adapters } from '../system/system.ts'
import { type Arguments, type Option, usageError } from '../terminal/options.ts'
import { answerCycle } from './change-cycle.ts'
import { CHANGE_OPTIONS, requestedMode } from './change-options.ts'
import { forceOption } from './force.ts'
import { answerRehearsal, answerReturn } from './hand-over-now.ts'
import { handOverStatus } from './hand-over-status.ts'
import { awayError, proposeHandOver } from './propose-hand-over.ts'
import type { Answer, Context } from './run-script.ts'

/** The guards by which hand-over refuses. */
const REFUSALS: readonly CheckName[] = [
  ...checksFor(HAND_OVER_GUARDS, 'hand-over'),
  ...checksFor(GUARDS, 'hand-over'),
  libvirtHookCheck,
]

/** The options of hand-over. */
export const HAND_OVER_OPTIONS: readonly Option[] = [
  CHANGE_OPTIONS.apply,
  { name: 'status', kind: 'flag', help: 'is all as planned? the last start and stop, step by step, and who has what' },
  { name: 'undo', kind: 'flag', help: 'take back what this script set up, for GUEST or altogether' },
  { name: 'rehearse', kind: 'flag', help: 'away and back at once, without the guest: the proof that it works here' },
  { name: 'return', kind: 'flag', help: 'end the guest now, and give everything back to the host' },
  { name: 'stop', kind: 'list', value: 'UNIT', help: 'a unit to stop before the guest starts, and to start after it' },
  { name: 'start', kind: 'list', value: 'UNIT', help: 'a unit to start for the guest, and to stop after it' },
  forceOption(REFUSALS),
  CHANGE_OPTIONS.output,
  CHANGE_OPTIONS.noCommands,
]

/** Answers hand-over: plan, apply, status, undo, and what happens at once. */
export async function answerHandOver(context: Context, adapters: Adapters): Promise<Answer> {
  const { arguments: given } = context
  checkUsage(given)
  if (given.flag('return')) return answerReturn(context)
  if (given.flag('rehearse')) return answerRehearsal(context, proposeHandOver(context, adapters))
  if (given.flag('undo')) expectHome(context)
  return answerCycle(context, adapters, {
    kind: 'hand-over',
    propose: (own, apply) => proposeHandOver(own, adapters, apply).proposal,
    status: async (own) => handOverStatus(own),
  })
}

function checkUsage(given: Arguments): void {
  const mode = requestedMode(given, ['status', 'undo', 'rehearse', 'return'], ['status'])
  const [guest, ...devices] = given.operands
  const units = given.list('stop').length + given.list('start').length
  if (mode === 'status' && guest !== undefined) throw usageError('--status looks at all guests: leave the names out')
  if ((mode === 'undo' || mode === 'return') && devices.length > 0)
    throw usageError(`--${mode} is for a guest: leave the devices out`)
  if (mode !== undefined && mode !== 'rehearse' && units > 0)
    throw usageError(`--${mode} takes no units: leave --stop and --start out`)
  if (mode !== 'status' && mode !== 'undo' && guest === undefined)
    throw usageError('no guest given; write its name first, then its devices: hand-over win11 01:00')
  if (guest !== undefined) expectGuestName(guest)
}

/** Throws a UserError with code `in-use` while a guest that is named, or any, has its card. */
function expectHome({ machine, arguments: given }: Context): void {
  const guests = given.operands.length > 0 ? given.operands : (machine.reader.list(RECORDS) ?? [])
  const away = guests.find((guest) => isAway(machine.reader, guest))
  if (away !== undefined) throw awayError(away)
}
