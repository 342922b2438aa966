import { boundFunctions } from '../bind/claimed-requirements.ts'
import { CONFIRM, isConfirmFile, stopTimerCommands } from '../change/confirm.ts'
import { type Claim, claimsOf, type JournalRecord } from '../change/journal.ts'
import type { ClaimKind } from '../change/journal-entry.ts'
import { type CommandChange, onceEach, type Plan } from '../change/plan.ts'
import type { Setting } from '../change/settings.ts'
import { leavingSettings, planUndo } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import { readSecureBoot } from '../host/secure-boot.ts'
import { readDistro } from '../system/read-system.ts'
import type { Adapters, ExternalTokens, Host } from '../system/system.ts'
import { reloadCommands } from '../tune/reload.ts'
import { externalCommands } from '../tune/services.ts'
import { requestedAddresses } from './answer.ts'
import type { Context } from './run-script.ts'

/**
 * The claims of a kind (with --all, of every kind), for the devices or features that are named, or for all.
 * Throws a UserError: `no-device`, `no-feature` for what is not set up.
 */
export function requestedClaims(
  journal: readonly JournalRecord[],
  kind: ClaimKind,
  { arguments: given, script }: Context,
): Claim[] {
  const claims = claimsOf(journal, given.flag('all') ? undefined : kind)
  if (given.operands.length === 0) return claims
  const known = [...new Set(claims.map(({ device }) => device))]
  const unknown = given.operands.find((text) => !known.includes(text))
  if (unknown !== undefined && kind === 'tuning')
    throw new UserError(
      'no-feature',
      `${unknown}: not set up by ${script.name}; there is ${known.join(', ') || 'nothing'}`,
    )
  const named = unknown === undefined ? given.operands : requestedAddresses(boundFunctions(claims), given, script.name)
  const leaving = claims.filter(({ device }) => named.includes(device))
  // A confirm timer would take the same back once more.
  const entries = new Set(leaving.map(({ entry }) => entry))
  return claims.filter((claim) => leaving.includes(claim) || (claim.device === CONFIRM && entries.has(claim.entry)))
}

/** The plan that takes claims back: files, and what has to be made of them again by whom. */
export function planUndoClaims(
  host: Host,
  journal: readonly JournalRecord[],
  claims: readonly Claim[],
  adapters: Adapters,
): Plan {
  const leaving = leavingSettings(journal, claims)
  const plan = planUndo(
    host.files,
    journal,
    claims,
    undoCommands(host, claims, leaving, adapters),
    derivedSettings(host, claims, leaving, adapters),
  )
  plan.notes.push(...undoModuleNotes(host, claims, adapters), ...unsignedNotes(host, plan, claims, adapters))
  return plan
}

/** What a person has to do where a file of ours is one that they import. */
function undoModuleNotes(host: Host, leaving: readonly Claim[], adapters: Adapters): string[] {
  const { declarative } = readDistro(host, adapters).adapter ?? {}
  const paths = new Set(leaving.flatMap(({ setting }) => (setting.kind === 'item' ? [setting.path] : [])))
  return [...paths].flatMap((path) => declarative?.undoSteps(path) ?? [])
}

/** An undo is never refused; but images that are made again may have to be signed before the boot. */
function unsignedNotes(host: Host, plan: Plan, claims: readonly Claim[], { bootloaders }: Adapters): string[] {
  if (!plan.changes.some(({ kind }) => kind === 'command') || readSecureBoot(host.machine) === false) return []
  const names = new Set(claims.map(({ entry }) => entry.entry.adapters.bootloader))
  const unsigned = bootloaders.filter(({ name }) => names.has(name)).flatMap((one) => one.unsigned?.(host) ?? [])
  return unsigned.map((one) => `${one}: under Secure Boot, sign it before the reboot.`)
}

/** What makes files into boot entries and images again: by the adapters that did it, for the kernels of today. */
function undoCommands(
  host: Host,
  claims: readonly Claim[],
  leaving: readonly Setting[],
  adapters: Adapters,
): CommandChange[] {
  const used = (pick: (entry: JournalRecord['entry']['adapters']) => string | null): Set<string | null> =>
    new Set(claims.map(({ entry }) => pick(entry.entry.adapters)))
  const generators = adapters.initramfs.filter(({ name }) => used((one) => one.initramfs).has(name))
  const loaders = adapters.bootloaders.filter(({ name }) => used((one) => one.bootloader).has(name))
  const forLoader = leaving.filter((setting) => isAnyLoaderSetting(setting, adapters))
  const forImage = leaving.filter((setting) => !forLoader.includes(setting) && !isConfirmFile(setting.path))
  return onceEach([
    ...(forImage.length > 0
      ? generators.flatMap((one) => one.commands(host, externalRemoval(forImage, one.name)))
      : []),
    ...loaders.flatMap((one) =>
      forLoader.length > 0 || one.embedsInitramfs ? one.commands(host, externalRemoval(forLoader, one.name)) : [],
    ),
    ...stopTimerCommands(
      host,
      leaving.map(({ path }) => path),
    ),
    ...externalCommands(host, readDistro(host, adapters).adapter, (by) => externalRemoval(leaving, by)),
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
  { bootloaders }: Adapters,
): Setting[] {
  const names = new Set(claims.map(({ entry }) => entry.entry.adapters.bootloader))
  const tokens = leaving.flatMap((one) => (one.kind === 'cmdline' && one.layout === 'file' ? [one.token] : []))
  const all = bootloaders.filter(({ name }) => names.has(name)).flatMap((one) => one.derived?.(host, tokens) ?? [])
  return all.filter(({ path }) => !leaving.some((one) => one.path === path))
}

function isAnyLoaderSetting(setting: Setting, { bootloaders }: Adapters): boolean {
  if (setting.kind === 'argument' || setting.kind === 'cmdline') return true
  return setting.kind === 'kept' && bootloaders.some(({ name }) => name === setting.by)
}

function externalRemoval(leaving: readonly Setting[], name: string): ExternalTokens {
  return { add: [], remove: leaving.flatMap((one) => (one.kind === 'kept' && one.by === name ? [one.token] : [])) }
}
