import { resolve } from 'node:path'
import { applyPlan } from '../change/apply.ts'
import { parseTime, withConfirmTimer } from '../change/confirm.ts'
import { withLock } from '../change/lock.ts'
import { rehearseNetplan } from '../change/rehearse.ts'
import { cutShortRuns } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import { expectAllRead, readPciFacts, unreadWarnings } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { expectMounted } from '../system/mounted.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import type { Arguments, Option } from '../terminal/options.ts'
import { paint } from '../terminal/text.ts'
import type { TuneFacts } from '../tune/feature.ts'
import { FEATURE_OPTIONS, hasFeatureOption, requirementsFrom, TUNING_GUARDS } from '../tune/features.ts'
import { planTuneHost } from '../tune/plan-tuning.ts'
import { reachedOver } from '../tune/reached.ts'
import { cutShortText, moduleFileText } from '../views/answers.ts'
import { changesText, findingsText, leftText, notesText, shellWord } from '../views/changes.ts'
import { answerJson, appliedJson, durationsIn, journalEntryFacts, refuse } from './answer.ts'
import { adapterOptions, confirmOptions, outputOption } from './bind-vfio.ts'
import { forceOption } from './force.ts'
import { expectModuleOutput, isNewFile, moduleOutput } from './module-output.ts'
import type { Answer, Context } from './run-script.ts'
import { answerTuneStatus } from './status.ts'
import { targetFor } from './target.ts'
import { answerConfirm, answerUndo } from './undo-confirm.ts'

/** The options of tune-host. */
export function tuneOptions(adapters: Adapters): Option[] {
  return [
    ...FEATURE_OPTIONS,
    { name: 'apply', kind: 'flag', help: 'do it; without this the plan is shown and nothing is written' },
    { name: 'status', kind: 'flag', help: 'is all as planned, and in force? each point with its evidence' },
    { name: 'undo', kind: 'flag', help: 'take back what this script did, for FEATURE or altogether' },
    forceOption(TUNING_GUARDS),
    ...confirmOptions,
    ...adapterOptions(adapters),
    outputOption,
    { name: 'no-commands', kind: 'flag', help: 'with --apply: write the files and print the commands' },
  ]
}

/** tune-host: plan, apply, status, undo. */
export async function answerTuneHost(context: Context, adapters: Adapters): Promise<Answer> {
  const { arguments: given, machine } = context
  checkTuneUsage(given)
  if (given.flag('status')) return answerTuneStatus(context, adapters)
  const own = openReader('/')
  if (given.flag('confirm')) {
    expectMounted(machine.files, own, resolve(machine.files.root))
    return withLock(targetFor(context), own, () => answerConfirm(context, adapters))
  }
  const apply = given.flag('apply')
  if (apply || given.flag('undo')) expectMounted(machine.files, own, resolve(machine.files.root))
  const work = (): Promise<Answer> => (given.flag('undo') ? answerUndo(context, adapters) : tune(context, adapters))
  return apply ? withLock(targetFor(context), own, work) : work()
}

function checkTuneUsage(given: Arguments): void {
  const usage = (message: string): UserError => new UserError('usage', message)
  const asks = hasFeatureOption(given)
  const modes = ['status', 'undo', 'confirm'].filter((name) => given.flag(name))
  if (modes.length > 1) throw usage(`--${modes.join(' and --')}: choose one`)
  if (modes.length > 0 && asks) throw usage(`--${modes[0]} takes no settings: leave them out`)
  if (given.flag('status') && given.flag('apply')) throw usage('--status changes nothing: leave --apply out')
  if (!given.flag('undo') && given.operands.length > 0)
    throw usage(`${given.operands[0]}: features are named with --undo only`)
  if (given.flag('apply') && given.value('machine') !== undefined && given.value('root') === undefined)
    throw usage('--machine is a captured machine: --apply needs the --root that it belongs to')
  if (modes.length === 0 && !asks) throw usage('nothing was asked for; --help lists what can be set up')
}

async function tune(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, warn, script, arguments: given } = context
  const host = readHost(machine)
  const named = { bootloader: given.value('bootloader'), initramfs: given.value('initramfs') }
  const facts: TuneFacts = {
    ...readSystemFacts(host, adapters, named),
    devices: readPciFacts(machine, warn).devices,
  }
  const requirements = requirementsFrom(facts, given)
  const findings = requirements.flatMap((requirement) => requirement.findings)
  refuse(findings, given)
  const { adapter } = facts.distro
  const {
    plan: required,
    tokens,
    made,
    replaced,
  } = planTuneHost(facts, requirements, moduleOutput(given, machine.files.root))
  await rehearseNetplan(openReader('/'), machine.files, required.changes)
  const declares = required.settings.some(({ kind }) => kind === 'nix-item')
  if (declares || adapter?.declarative === undefined)
    expectModuleOutput(given, adapter, given.flag('apply'), adapter?.declarative?.tuning.path)
  const module = declares && given.value('output') === undefined && isNewFile(required)
  const within = given.value('confirm-within')
  const port = given.value('port')
  if (port !== undefined && within === undefined && !declares && required.changes.length > 0) {
    findings.push(reachedOver(facts, port))
    if (given.flag('apply')) refuse(findings, given)
  }
  const plan =
    within === undefined || required.changes.length === 0
      ? required
      : withConfirmTimer(host, facts.journal, required, script.name, parseTime('--confirm-within', within))
  const short = cutShortRuns(host.files, facts.journal)
  plan.notes.push(...short.notes, ...unreadWarnings(machine))
  const json = answerJson(script, 'plan', plan, [], findings, short.changes)
  const took = durationsIn(facts.journal)
  const head = (style: Parameters<Answer['text']>[0]): string =>
    `${paint(style, 'bold', script.name)}: ${requirements.map(({ feature }) => feature).join(', ')}\n${findingsText(
      style,
      findings.filter(({ state }) => state !== 'ok'),
    )}${cutShortText(style, json)}\n${module ? moduleFileText(json) : changesText(style, json.changes, took)}${notesText(json.notes)}\n`
  const root = given.value('root')
  const own = `${script.name}${root === undefined ? '' : ` --root ${shellWord(root)}`}`
  const back = `To take it back:        ${own} --undo --apply\n`
  const check = `${plan.rebootNeeded ? 'After the reboot:      ' : 'To look at it:         '} ${own} --status\n`
  if (!given.flag('apply') || plan.changes.length === 0)
    return {
      code: plan.changes.length + short.notes.length > 0 ? 1 : 0,
      json,
      text: (look) =>
        plan.changes.length === 0
          ? `${head(look)}Nothing to do: all of this is set up. See ${script.name} --status.\n`
          : module
            ? `${head(look)}Nothing was written. Save this, or add --output FILE --apply.\n`
            : `${head(look)}${check}${back}Nothing was written. Add --apply.\n`,
    }
  expectAllRead(machine)
  const target = targetFor(context)
  const used = { bootloader: made.entries ? (facts.bootloader.adapter?.name ?? null) : null, initramfs: null }
  const { undoes, undone } = replaced
  const { printed } = await applyPlan(
    target,
    { ...journalEntryFacts(context, plan, [], used), undoes, undone },
    async () => {
      const seen = made.entries
        ? (adapters.openBootloader(readHost(machine), used.bootloader)?.observe(tokens, false) ?? [])
        : []
      return seen.filter(({ ok }) => ok === false).map(({ proof }) => proof)
    },
  )
  return {
    code: 0,
    json: appliedJson(json, printed),
    text: (look) => `${head(look)}${printed.length > 0 ? leftText(printed, given) : 'Done.\n'}${check}${back}`,
  }
}
