import { rehearseNetplan } from '../change/rehearse.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import { type Arguments, type Option, usageError } from '../terminal/options.ts'
import type { TuneFacts } from '../tune/feature.ts'
import { FEATURE_OPTIONS, hasFeatureOption, requirementsFrom, TUNING_GUARDS } from '../tune/features.ts'
import { planTuneHost } from '../tune/plan-tuning.ts'
import { reachedOver } from '../tune/reached.ts'
import { tuningView } from '../views/answers.ts'
import { refuse } from './answer.ts'
import { answerCycle } from './change-cycle.ts'
import { changeOptions, requestedAdapters, requestedMode } from './change-options.ts'
import { expectModuleOutput, moduleOutput } from './module-output.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'
import { tuningStatus } from './status.ts'

/** Returns the options of tune-host. */
export function tuneOptions(adapters: Adapters): Option[] {
  const status = 'is all as planned, and in force? each point with its evidence'
  const undo = 'take back what this script did, for FEATURE or altogether'
  return [...FEATURE_OPTIONS, ...changeOptions(adapters, { status, undo, guards: TUNING_GUARDS })]
}

/** Answers tune-host: plan, apply, status, undo. */
export async function answerTuneHost(context: Context, adapters: Adapters): Promise<Answer> {
  checkTuneUsage(context.arguments)
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

async function proposeTuning(context: Context, adapters: Adapters, apply: boolean): Promise<Proposal> {
  const { machine, warn, script, arguments: given } = context
  const host = readHost(machine)
  const system = readSystemFacts(host, adapters, requestedAdapters(given))
  const facts: TuneFacts = Object.assign(system, { devices: readPciFacts(machine, warn).devices })
  const output = moduleOutput(given, machine.files.root)
  const requirements = requirementsFrom(facts, given, (some) => planTuneHost(facts, some, output))
  const findings = requirements.flatMap((requirement) => requirement.findings)
  refuse(findings, given)
  const { adapter } = facts.distro
  const { plan, tokens, made, replaced } = planTuneHost(facts, requirements, output)
  await rehearseNetplan(openReader('/'), machine.files, plan.changes)
  const declares = plan.settings.some(({ kind }) => kind === 'nix-item')
  if (declares || adapter?.declarative === undefined)
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
