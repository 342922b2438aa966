import { LIVE_JOURNAL } from '../change/journal-entry.ts'
import type { CommandChange, FileChange, Plan } from '../change/plan.ts'
import { contentReader } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import { HAND_OVER } from '../hand-over/hand-over-paths.ts'
import { handOverFiles } from '../hand-over/hook-files.ts'
import { guestFile, readHandOvers } from '../hand-over/plan-hand-over.ts'
import { type LoggedStep, readRefusal, readSteps } from '../hand-over/read-hand-over.ts'
import { openReader } from '../host/sysroot.ts'
import { nowView, stepsText } from '../views/hand-over-view.ts'
import { changeSystem } from './change-cycle.ts'
import type { Proposal } from './proposal.ts'
import type { ProposedHandOver } from './propose-hand-over.ts'
import type { Answer, Context } from './run-script.ts'

/** The folder of a rehearsal: nothing of it outlives the boot. */
const REHEARSAL = '/run/vfio-scripts/rehearsal'

/** Answers --rehearse: the program runs with what is proposed, without the guest, and nothing is set up. */
export async function answerRehearsal(context: Context, { decided, proposal }: ProposedHandOver): Promise<Answer> {
  const { machine } = context
  expectRunning(context, '--rehearse')
  const read = contentReader(machine.files)
  const moved = (path: string): string => path.replace(HAND_OVER, `${REHEARSAL}/hand-over`)
  const files = [...handOverFiles(), guestFile(decided)]
    .filter(({ path }) => path.startsWith(HAND_OVER))
    .map((setting): FileChange => {
      const path = moved(setting.path)
      const { content: after, mode = 0o644, reason } = setting
      return { kind: 'file', path, before: read(path), after, mode, reason }
    })
    .filter(({ before, after }) => before !== after)
  const run = transient('rehearsal', moved(HAND_OVER), 'rehearse', decided.guest)
  const notes = [
    'It takes the devices for ten seconds and gives them back. What holds them is stopped as for the guest.',
    ...proposal.plan.notes,
    `Start it over SSH or from a text console; where its own session ends, hand-over --status has the result.`,
  ]
  const plan: Plan = { changes: [...files, run], settings: [], notes, rebootNeeded: false }
  const given = { ...proposal, plan, entry: {}, view: nowView(proposal.view, 'rehearse', decided.guest) }
  return withSteps(context, decided.guest, given, () => readRefusal(openReader('/'), decided.guest))
}

/** Answers --return: the guest is ended, and the host gets everything back. Throws `no-guest` for an unknown one. */
export async function answerReturn(context: Context): Promise<Answer> {
  const { machine, arguments: given } = context
  expectRunning(context, '--return')
  const [guest = ''] = given.operands
  const known = readHandOvers(machine.files).map((one) => one.guest)
  if (!known.includes(guest))
    throw new UserError('no-guest', `${guest}: has no hand-over; there is ${known.join(', ') || 'none'}`)
  const notes = [
    `${guest} has 90 seconds to shut down, then it is ended as by pulling its plug.`,
    'Only then do its devices go back to their drivers, and what was stopped starts again.',
  ]
  const changes = [transient('return', HAND_OVER, 'return', guest)]
  const plan: Plan = { changes, settings: [], notes, rebootNeeded: false }
  const view = nowView(undefined, 'return', guest)
  const proposal = { plan, host: machine, journal: [], devices: [], findings: [], entry: {}, view }
  return withSteps(context, guest, proposal, () => readSteps(openReader('/'), guest).at(-1)?.text)
}

function expectRunning({ machine }: Context, option: string): void {
  if (!machine.running)
    throw new UserError('usage', `${option} is done to the running system: leave --root and --machine out`)
}

/** Runs the program outside of the person's session, which may end on the way. Source: systemd-run(1). */
function transient(name: string, program: string, verb: string, guest: string): CommandChange {
  const unit = `--unit=vfio-scripts-${name}`
  // Whatever ends it, what is away comes back.
  const after = [`--property=ExecStopPost=/bin/sh ${program} give-back ${guest}`, '--property=KillMode=process']
  const argv = ['systemd-run', '--wait', '--collect', '--quiet', unit, ...after, '/bin/sh', program, verb, guest]
  // It gives back by itself, whatever fails: nothing is left to take back.
  return { kind: 'command', argv, inverse: ['true'], touches: [], reason: `${verb} ${guest}, step by step` }
}

/** Carries it out, and shows its steps; `whyNot` returns why it failed. Throws a UserError with code `not-handed-over`. */
async function withSteps(
  context: Context,
  guest: string,
  proposal: Proposal,
  whyNot: () => string | undefined,
): Promise<Answer> {
  const apply = context.arguments.flag('apply')
  const steps = (): LoggedStep[] => readSteps(openReader('/'), guest)
  try {
    const answer = await changeSystem(context, 'hand-over', () => proposal, apply, LIVE_JOURNAL)
    if (!apply) return answer
    const done = steps()
    return { ...answer, text: (style) => `${answer.text(style)}${stepsText(done)}` }
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== 'command-failed') throw error
    const why = whyNot() ?? error.message
    throw new UserError(
      'not-handed-over',
      `${guest}: ${why}`,
      steps().map(({ seconds, text }) => `${seconds.toFixed(1)} s  ${text}`),
    )
  }
}
