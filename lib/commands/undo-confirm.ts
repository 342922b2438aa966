import { boundFunctions } from '../bind/claimed-requirements.ts'
import { applyPlan } from '../change/apply.ts'
import { CONFIRM, isConfirmFile, stopTimerCommands } from '../change/confirm.ts'
import { type Claim, claimsOf, type JournalRecord, readJournal } from '../change/journal.ts'
import type { EntryFacts } from '../change/journal-entry.ts'
import { type CommandChange, onceEach, type Plan } from '../change/plan.ts'
import { kernelArgumentIn, type Setting, tokensKeptBy } from '../change/settings.ts'
import { cutShortRuns, leavingSettings, planUndo } from '../change/undo.ts'
import { TUNING_SCRIPT } from '../checks/binding-status.ts'
import { UserError } from '../core/error.ts'
import { readSecureBoot } from '../host/secure-boot.ts'
import { externalCommands } from '../system/external-tools.ts'
import { readDistro, readHost } from '../system/read-system.ts'
import type { Adapters, ExternalTokens, Host } from '../system/system.ts'
import type { Arguments } from '../terminal/options.ts'
import { reloadCommands } from '../tune/reload.ts'
import { undoneText } from '../views/answers.ts'
import { answerJson, appliedJson, durationsIn, journalEntryFacts, requestedAddresses } from './answer.ts'
import type { Answer, Context } from './run-script.ts'
import { targetFor } from './target.ts'
import { verifyUndo } from './verify-boot-files.ts'

/** Takes back what a script did: the plan, or with --apply the doing. */
export function answerUndo(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, script, arguments: given } = context
  const journal = readJournal(readHost(machine).files)
  return undoClaims(context, adapters, journal, requestedClaims(journal, script.name, given))
}

/** Keeps what was applied with --confirm-within: the switch goes, and nothing else. */
export async function answerConfirm(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, script } = context
  const journal = readJournal(readHost(machine).files)
  const leaving = claimsOf(journal).filter(
    ({ owner, entry }) => owner === CONFIRM && entry.entry.script === script.name,
  )
  if (leaving.length === 0)
    throw new UserError(
      'nothing-to-confirm',
      `${script.name}: nothing waits for a confirmation; --status shows what is set up`,
    )
  const answer = await undoClaims(context, adapters, journal, leaving, true)
  return { ...answer, text: () => `${script.name}: confirmed; what was applied stays.\n` }
}

async function undoClaims(
  context: Context,
  adapters: Adapters,
  journal: readonly JournalRecord[],
  going: readonly Claim[],
  apply = context.arguments.flag('apply'),
): Promise<Answer> {
  const { machine, script, arguments: given } = context
  const host = readHost(machine)
  const entries = [...new Set(going.map(({ entry }) => entry))]
  const leaving = leavingSettings(journal, going)
  const confirms = going.every(({ owner }) => owner === CONFIRM)
  const plan = planUndo(
    host.files,
    journal,
    going,
    undoCommands(host, going, leaving, adapters),
    derivedSettings(host, going, leaving, adapters),
  )
  if (confirms) plan.rebootNeeded = false
  const short = cutShortRuns(host.files, journal)
  plan.notes.push(
    ...undoModuleNotes(host, going, adapters),
    ...unsignedNotes(host, plan, going, adapters),
    ...short.notes,
  )
  const functions = boundFunctions(going)
  const json = answerJson(context.script, 'plan', plan, functions, [], short.changes)
  const scripts = claimsOf(journal).map(({ entry }) => entry.entry.script)
  const others = [...new Set(scripts)].filter((name) => name !== script.name)
  const view = { script, json, functions, durations: durationsIn(journal), given, claims: going, others }
  if (!apply || going.length === 0)
    return {
      code: going.length + short.notes.length > 0 ? 1 : 0,
      json,
      text: (style) => undoneText(style, view, undefined),
    }
  const target = targetFor(context)
  const entry: EntryFacts = {
    ...journalEntryFacts(
      context,
      plan,
      functions,
      entries.at(-1)?.entry.adapters ?? { bootloader: null, initramfs: null },
    ),
    undoes: entries.map(({ number }) => number),
    undone: [...new Set(going.map(({ owner }) => owner))],
    emptied: [...new Set(journal.flatMap(({ entry: { folders } }) => folders))],
  }
  const { printed } = await applyPlan(target, entry, () => verifyUndo(readHost(machine), going, adapters, target))
  return {
    code: 0,
    json: appliedJson(json, printed),
    text: (look) => undoneText(look, view, printed),
  }
}

/** What a person has to do where a file of ours is one that they import. */
function undoModuleNotes(host: Host, leaving: readonly Claim[], adapters: Adapters): string[] {
  const { declarative } = readDistro(host, adapters).adapter ?? {}
  const paths = new Set(leaving.flatMap(({ setting }) => (setting.kind === 'nix-item' ? [setting.path] : [])))
  return [...paths].flatMap((path) => declarative?.undoSteps(path) ?? [])
}

/** An undo is never refused; but images that are made again may have to be signed before the boot. */
function unsignedNotes(host: Host, plan: Plan, claims: readonly Claim[], adapters: Adapters): string[] {
  if (!plan.changes.some(({ kind }) => kind === 'command') || readSecureBoot(host.machine) === false) return []
  const names = new Set(claims.map(({ entry }) => entry.entry.adapters.bootloader))
  const unsigned = [...names].flatMap((name) => adapters.openBootloader(host, name)?.unsigned?.() ?? [])
  return unsigned.map((one) => `${one}: under Secure Boot, sign it before the reboot.`)
}

/** The claims of this script (or all), for the devices named (or all). */
function requestedClaims(journal: readonly JournalRecord[], script: string, given: Arguments): Claim[] {
  const claims = claimsOf(journal).filter(({ entry }) => given.flag('all') || entry.entry.script === script)
  if (given.operands.length === 0) return claims
  const named = requestedNames(claims, given, script)
  const leaving = claims.filter(({ owner }) => named.includes(owner))
  // A switch would take the same back once more.
  const entries = new Set(leaving.map(({ entry }) => entry))
  return claims.filter((claim) => leaving.includes(claim) || (claim.owner === CONFIRM && entries.has(claim.entry)))
}

/** The devices, or the features of tune-host, that the arguments name. */
function requestedNames(claims: readonly Claim[], given: Arguments, script: string): string[] {
  const functions = boundFunctions(claims)
  const known = [...new Set(claims.map(({ owner }) => owner))]
  const unknown = given.operands.find((text) => !known.includes(text))
  if (unknown === undefined) return [...given.operands]
  if (script !== TUNING_SCRIPT) return requestedAddresses(functions, given, script)
  throw new UserError('no-feature', `${unknown}: not set up by ${script}; there is ${known.join(', ') || 'nothing'}`)
}

/** What makes files into boot entries and images again: by the adapters that did it, for the kernels of today. */
function undoCommands(
  host: Host,
  claims: readonly Claim[],
  leaving: readonly Setting[],
  adapters: Adapters,
): CommandChange[] {
  const names = adapters.bootloaders.map(({ name }) => name)
  const used = claims.map(({ entry }) => entry.entry.adapters)
  const generators = [...new Set(used.map((one) => one.initramfs))].flatMap(
    (name) => adapters.openInitramfs(host, name) ?? [],
  )
  const loaders = [...new Set(used.map((one) => one.bootloader))].flatMap(
    (name) => adapters.openBootloader(host, name) ?? [],
  )
  const forLoader = leaving.filter((one) => kernelArgumentIn(one, names) !== undefined)
  const forImage = leaving.filter((setting) => !forLoader.includes(setting) && !isConfirmFile(setting.path))
  return onceEach([
    ...(forImage.length > 0 ? generators.flatMap((one) => one.commands(externalRemoval(forImage, one.name))) : []),
    ...loaders.flatMap((one) =>
      forLoader.length > 0 || one.embedsInitramfs ? one.commands(externalRemoval(forLoader, one.name)) : [],
    ),
    ...stopTimerCommands(
      host,
      leaving.map(({ path }) => path),
    ),
    ...externalCommands(host, readDistro(host, adapters).adapter, [], leaving),
    ...reloadCommands(
      host,
      leaving.map(({ path }) => path),
      false,
    ),
  ])
}

/** Our arguments where the boot loaders' tools have copied them since. */
function derivedSettings(
  host: Host,
  claims: readonly Claim[],
  leaving: readonly Setting[],
  adapters: Adapters,
): Setting[] {
  const names = new Set(claims.map(({ entry }) => entry.entry.adapters.bootloader))
  const tokens = leaving.flatMap((one) => (one.kind === 'command-line' && one.layout === 'file' ? [one.token] : []))
  const all = [...names].flatMap((name) => adapters.openBootloader(host, name)?.derived?.(tokens) ?? [])
  return all.filter(({ path }) => !leaving.some((one) => one.path === path))
}

function externalRemoval(leaving: readonly Setting[], name: string): ExternalTokens {
  return { add: [], remove: tokensKeptBy(leaving, name) }
}
