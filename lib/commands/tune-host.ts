import { rehearseNetplan } from '../change/rehearse.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { type Arguments, type Option, usageError } from '../terminal/options.ts'
import type { TuneFacts, TuneRequirements } from '../tune/feature.ts'
import {
  expectNoneOfMachine,
  FEATURE_OPTIONS,
  hasFeatureOption,
  requirementsFrom,
  TUNING_GUARDS,
} from '../tune/features.ts'
import { planTuneHost } from '../tune/plan-tuning.ts'
import { reachedOver } from '../tune/reached.ts'
import { tuningView } from '../views/answers.ts'
import { refuse } from './answer.ts'
import { answerCycle } from './change-cycle.ts'
import { changeOptions, requestedAdapters, requestedMode } from './change-options.ts'
import { answerTree, factsOfBuild, type ImageTree, planOfTree, requestedTree, TREE_HELP } from './image-tree.ts'
import { expectModuleOutput, moduleOutput } from './module-output.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'
import { tuningStatus } from './status.ts'

/** Returns the options of tune-host. */
export function tuneOptions(adapters: Adapters): Option[] {
  const status = 'is all as planned, and in force? each point with its evidence'
  const undo = 'take back what this script did, for FEATURE or altogether'
  return [...FEATURE_OPTIONS, ...changeOptions(adapters, { status, undo, guards: TUNING_GUARDS, output: TREE_HELP })]
}

/** Answers tune-host: plan, apply, status, undo. */
export async function answerTuneHost(context: Context, adapters: Adapters): Promise<Answer> {
  const given = context.arguments
  checkTuneUsage(given)
  const system = readSystemFacts(readHost(context.machine), adapters, requestedAdapters(given))
  const tree = requestedTree(given, system)
  if (tree !== undefined) {
    const { plan, ...rest } = await proposeTuning(context, adapters, given.flag('apply'), tree)
    return answerTree(
      context,
      { ...rest, plan: planOfTree(plan, tree, system, rest.bootFiles?.tokens ?? [], 'tuning') },
      tree,
    )
  }
  return answerCycle(context, adapters, {
    kind: 'tuning',
    propose: (own, apply) => proposeTuning(own, adapters, apply),
    status: (own) => tuningStatus(own, adapters),
  })
}

function checkTuneUsage(given: Arguments): void {
  const asks = hasFeatureOption(given)
  const mode = requestedMode(given, ['status', 'undo', 'confirm'], ['status'])
  if (mode !== undefined && asks) throw usageError(`--${mode} takes no settings: leave them out`)
  if (mode !== 'undo' && given.operands.length > 0)
    throw usageError(
      `${given.operands[0]}: only --undo takes the name of a feature; to set something up, give its option (--hugepages 16G)`,
    )
  if (mode === undefined && !asks) throw usageError('nothing was asked for; --help lists what can be set up')
}

async function proposeTuning(
  context: Context,
  adapters: Adapters,
  apply: boolean,
  tree?: ImageTree,
): Promise<Proposal> {
  const { machine, warn, script, arguments: given } = context
  const host = readHost(machine)
  const read = readSystemFacts(host, adapters, requestedAdapters(given))
  const system = tree === undefined ? read : factsOfBuild(read, tree, adapters)
  const facts: TuneFacts = Object.assign(system, { devices: readPciFacts(machine, warn).devices })
  if (tree !== undefined) expectNoneOfMachine(given)
  const output = tree === undefined ? moduleOutput(given, machine.files.root) : null
  // What is set up on this machine stays as it is.
  const planFor = (some: readonly TuneRequirements[]) =>
    planTuneHost(facts, tree === undefined ? some : some.map((one) => ({ ...one, replaces: () => false })), output)
  const requirements = requirementsFrom(facts, given, planFor)
  const findings = requirements.flatMap((requirement) => requirement.findings)
  refuse(findings, given)
  const { adapter } = facts.distro
  const { plan, tokens, made, replaced } = planFor(requirements)
  await rehearseNetplan(openReader('/'), machine.files, plan.changes)
  const declares = plan.settings.some(({ kind }) => kind === 'nix-item')
  if (tree === undefined && (declares || adapter?.declarative === undefined))
    expectModuleOutput(given, adapter, apply, adapter?.declarative?.tuning.path)
  const port = given.value('port')
  if (port !== undefined && given.value('confirm-within') === undefined && !declares && plan.changes.length > 0) {
    findings.push(reachedOver(facts, port))
    if (apply) refuse(findings, given)
  }
  const { undoes, undone } = replaced
  const bootloader = made.entries ? (facts.bootloader.adapter?.name ?? null) : null
  return {
    ...{ plan, host, journal: facts.journal, devices: [], findings },
    entry: { adapters: { bootloader, initramfs: null }, undoes, undone },
    bootFiles: { adapters, bootloader, tokens },
    view: tuningView(script, given, {
      features: requirements.map(({ feature }) => feature),
      findings,
      rebootNeeded: plan.rebootNeeded,
      printsModule: declares && output === null,
    }),
  }
}
