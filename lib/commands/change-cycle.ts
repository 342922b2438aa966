import { resolve } from 'node:path'
import {
  boundFunctions,
  claimedArguments,
  claimedGenerator,
  claimedRequirements,
} from '../bind/claimed-requirements.ts'
import { applyPlan } from '../change/apply.ts'
import { CONFIRM, parseTime, withConfirmTimer } from '../change/confirm.ts'
import { claimsOf, readJournal } from '../change/journal.ts'
import { type BoundFunction, type ClaimKind, type EntryFacts, JOURNAL } from '../change/journal-entry.ts'
import { withLock } from '../change/lock.ts'
import { LATER, leavingBootFiles } from '../change/owed.ts'
import { cutShortRuns, leavingSettings, waitsForBoot } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import { expectAllRead, readPciFacts, unreadWarnings } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { expectMounted } from '../system/mounted.ts'
import { readHost } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { usageError } from '../terminal/options.ts'
import { reloadCommands } from '../tune/reload.ts'
import { changeText, statusText, undoView } from '../views/answers.ts'
import { answerJson, type BindVfio } from '../views/changes.ts'
import { withoutUnchanged } from '../views/predictions.ts'
import { readBootId } from './answer.ts'
import { chooseCard } from './choose.ts'
import { withOwedBootFiles } from './owed-boot-files.ts'
import { predictUndo } from './predict-undo.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'
import { targetFor } from './target.ts'
import { expectFreeFunctions, planUndoClaims, requestedClaims } from './undo-claims.ts'
import { verifyBootFiles } from './verify-boot-files.ts'

/** A kind of change that scripts plan, apply, check and undo. Any script of the kind can undo what another set up. */
export interface ChangeCycle {
  kind: ClaimKind
  /** Plans what the arguments ask for; `apply`: the plan is going to be written. */
  propose(context: Context, apply: boolean): Promise<Proposal> | Proposal
  /** Checks whether all that was set up is as planned. */
  status(context: Context): Promise<ChangeStatus>
}

export interface ChangeStatus {
  state: NonNullable<BindVfio['state']>
  /** The state in words, for people. */
  meaning: string
  /** Names of what is set up: addresses, features. */
  names: readonly string[]
  functions: BoundFunction[]
  findings: Finding[]
}

/** Answers a script of a cycle: the plan, which --apply carries out, or --status, --undo, --confirm, --choose. */
export async function answerCycle(context: Context, adapters: Adapters, cycle: ChangeCycle): Promise<Answer> {
  const { arguments: given, machine, script } = context
  const mode = ['status', 'undo', 'confirm'].find((name) => given.flag(name))
  if (mode !== undefined && given.flag(LATER)) throw usageError(`--${LATER} and --${mode}: choose one`)
  if (given.flag('status')) return answerStatus(context, await cycle.status(context))
  if (['apply', 'undo', 'confirm', 'choose'].some((name) => given.flag(name)))
    expectMounted(machine.files, openReader('/'), resolve(machine.files.root))
  const confirms = given.flag('confirm')
  const propose = async (own: Context, apply: boolean): Promise<Proposal> => {
    if (confirms) return proposeUndo(own, adapters, cycle.kind)
    if (!given.flag('undo'))
      return withOwedBootFiles(own, adapters, completed(own, await cycle.propose(own, apply), apply))
    const proposal = await proposeUndo(own, adapters, cycle.kind)
    return proposal.pending ? withOwedBootFiles(own, adapters, proposal) : proposal
  }
  const change = (own: Context, apply: boolean): Promise<Answer> =>
    changeSystem(own, cycle.kind, () => propose(own, apply), apply)
  if (given.flag('choose')) return chooseCard(context, change)
  const answer = await change(context, confirms || given.flag('apply'))
  return confirms ? { ...answer, text: () => `${script.name}: confirmed; what was applied stays.\n` } : answer
}

/** Shows a proposal, or with `apply` carries it out, under the lock and with the journal. */
export async function changeSystem(
  context: Context,
  kind: ClaimKind,
  propose: () => Promise<Proposal> | Proposal,
  apply: boolean,
  journal = JOURNAL,
): Promise<Answer> {
  const target = apply ? targetFor(context, journal) : undefined
  const work = async (): Promise<Answer> => {
    const proposal = await propose()
    const { plan, view, boots = [], pending = plan.changes.length > 0 } = proposal
    const short = cutShortRuns(proposal.host.files, proposal.journal)
    plan.notes.push(...short.notes, ...unreadWarnings(context.machine))
    const json: BindVfio = {
      ...answerJson(context.script, 'plan', plan, proposal.devices, proposal.findings, short.changes),
      ...(boots.length === 0 ? {} : { boots: boots.map((boot) => withoutUnchanged(boot, proposal.devices)) }),
    }
    const facts = {
      ...{ json, pending, cutShort: short.notes.length > 0, given: context.arguments },
      durations: Object.assign({}, ...proposal.journal.map(({ seconds }) => seconds)) as Record<string, number>,
    }
    if (target === undefined || !pending)
      return {
        code: pending || proposal.lacking || facts.cutShort ? 1 : 0,
        json,
        text: (style) => changeText(style, view, facts),
      }
    const { printed } = await applyPlan(target, entryFacts(context, kind, proposal), async () => {
      const wrong: string[] = []
      for (const one of [proposal.bootFiles, proposal.owed])
        if (one !== undefined) wrong.push(...(await verifyBootFiles(readHost(context.machine), one, target)))
      return wrong
    })
    const done: BindVfio = { ...json, action: 'apply', changed: true, commands: printed }
    return {
      code: 0,
      json: done,
      text: (style) => changeText(style, view, facts, printed),
    }
  }
  return target === undefined ? work() : withLock(target, openReader('/'), work)
}

function entryFacts(context: Context, kind: ClaimKind, { plan, entry }: Proposal): EntryFacts {
  return {
    ...{ script: context.script.name, kind, time: new Date().toISOString(), boot: readBootId(context), plan },
    ...{ functions: [], adapters: { bootloader: null, initramfs: null }, undoes: [], undone: [], emptied: [] },
    ...entry,
  }
}

/** Adds to a proposal of something new the confirm timer that was asked for. Refuses to apply what is not all read. */
function completed({ machine, arguments: given, script }: Context, proposal: Proposal, apply: boolean): Proposal {
  const { host, journal } = proposal
  const within = given.value('confirm-within')
  const plan =
    within === undefined || proposal.plan.changes.length === 0
      ? proposal.plan
      : withConfirmTimer(host, journal, proposal.plan, script.name, parseTime('--confirm-within', within))
  if (apply && plan.changes.length > 0) expectAllRead(machine)
  const leaving = given.flag(LATER) ? leavingBootFiles(plan, journal) : plan
  if (leaving === plan) return { ...proposal, plan }
  const { bootFiles: _, ...rest } = proposal
  return { ...rest, plan: leaving }
}

function answerStatus({ script }: Context, status: ChangeStatus): Answer {
  const { state, functions, findings } = status
  const plan = { changes: [], settings: [], notes: [], rebootNeeded: state === 'reboot-needed' }
  const json: BindVfio = { ...answerJson(script, 'status', plan, functions, findings), state }
  return {
    code: state === 'bound' || state === 'in-force' ? 0 : 1,
    json,
    text: (style) => statusText(style, script.name, status),
  }
}

/** Proposes to undo what was set up, all of it or what the arguments name; with --confirm, the confirm timer alone. */
async function proposeUndo(context: Context, adapters: Adapters, kind: ClaimKind): Promise<Proposal> {
  const { machine, script, arguments: given } = context
  const host = readHost(machine)
  const journal = readJournal(host.files)
  const confirms = given.flag('confirm')
  const leaving = confirms
    ? claimsOf(journal, kind).filter(({ owner }) => owner === CONFIRM)
    : requestedClaims(journal, kind, context)
  if (confirms && leaving.length === 0)
    throw new UserError('nothing-to-confirm', 'nothing waits for a confirmation; --status shows what is set up')
  const settings = leavingSettings(journal, leaving)
  if (host.running) expectFreeFunctions(host, () => readPciFacts(machine, context.warn).devices, settings)
  const plan = planUndoClaims(host, journal, leaving, adapters)
  // A program that was made to read a file again has what was in it.
  const reread =
    reloadCommands(
      host,
      leaving.filter(({ owner }) => owner !== CONFIRM).map(({ setting }) => setting.path),
      true,
    ).length > 0
  const waits = !reread && waitsForBoot(journal, leaving, readBootId(context))
  if (confirms || waits) plan.rebootNeeded = false
  const entries = [...new Set(leaving.map(({ entry }) => entry))]
  const functions = boundFunctions(leaving)
  const used = entries.at(-1)?.entry.adapters
  const tokens = claimedArguments(leaving)
  const boots = functions.length === 0 || confirms ? [] : await predictUndo(context, adapters, host, plan, settings)
  return {
    ...{ plan, host, journal, devices: functions, findings: [], boots, pending: leaving.length > 0 },
    entry: {
      functions,
      ...(used === undefined ? {} : { adapters: used }),
      undoes: entries.map(({ number }) => number),
      undone: [...new Set(leaving.map(({ owner }) => owner))],
      emptied: [...new Set(journal.flatMap(({ entry: { folders } }) => folders))],
    },
    bootFiles: {
      ...{ adapters, gone: true, tokens, requirements: claimedRequirements(leaving) },
      bootloader: tokens.length === 0 ? null : (entries[0]?.entry.adapters.bootloader ?? null),
      initramfs: claimedGenerator(leaving),
    },
    view: undoView(script, leaving, functions, claimsOf(journal), plan.rebootNeeded, waits),
  }
}
