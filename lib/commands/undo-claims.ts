import { boundFunctions } from '../bind/claimed-requirements.ts'
import { overrideNotes } from '../bind/rivals.ts'
import { CONFIRM, isConfirmFile, stopTimerCommands } from '../change/confirm.ts'
import { type Claim, claimsOf, type JournalRecord } from '../change/journal.ts'
import type { ClaimKind } from '../change/journal-entry.ts'
import { commandsOf, onceEach, type Plan } from '../change/plan.ts'
import { kernelArgumentIn, type Setting, tokensKeptBy } from '../change/settings.ts'
import { leavingSettings, planUndo } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import type { PciDevice } from '../host/pci.ts'
import { readSecureBoot } from '../host/secure-boot.ts'
import { functionsInUse } from '../host/vf-use.ts'
import { externalCommands } from '../system/external-tools.ts'
import { readDistro } from '../system/read-system.ts'
import type { Adapters, ExternalTokens, Host } from '../system/system.ts'
import { reloadCommands } from '../tune/reload.ts'
import { requestedAddresses } from './answer.ts'
import type { Context } from './run-script.ts'

/**
 * Returns the claims of a kind (with --all, of every kind), for the devices or features that are named, or for all.
 * Throws a UserError: `no-device`, `no-feature` for what is not set up.
 */
export function requestedClaims(
  journal: readonly JournalRecord[],
  kind: ClaimKind,
  { arguments: given, script }: Context,
): Claim[] {
  const claims = claimsOf(journal, given.flag('all') ? undefined : kind)
  if (given.operands.length === 0) return claims
  const known = [...new Set(claims.map(({ owner }) => owner))]
  const unknown = given.operands.find((text) => !known.includes(text))
  if (unknown !== undefined && kind !== 'binding')
    throw new UserError(
      kind === 'tuning' ? 'no-feature' : 'no-guest',
      `${unknown}: not set up by ${script.name}; there is ${known.join(', ') || 'nothing'}`,
    )
  const named = unknown === undefined ? given.operands : requestedAddresses(boundFunctions(claims), given, script.name)
  const leaving = claims.filter(({ owner }) => named.includes(owner))
  // A confirm timer would undo the same once more.
  const entries = new Set(leaving.map(({ entry }) => entry))
  return claims.filter((claim) => leaving.includes(claim) || (claim.owner === CONFIRM && entries.has(claim.entry)))
}

/**
 * Plans to undo claims: changes their files, and makes again what was made of them, by the adapters that did it, for
 * the kernels of today. An undo is never refused; the notes say what a person has to do for it.
 */
export function planUndoClaims(
  host: Host,
  journal: readonly JournalRecord[],
  claims: readonly Claim[],
  adapters: Adapters,
): Plan {
  const used = claims.map(({ entry }) => entry.entry.adapters)
  const loaders = [...new Set(used.map(({ bootloader }) => bootloader))].flatMap(
    (name) => adapters.openBootloader(host, name) ?? [],
  )
  const generators = [...new Set(used.map(({ initramfs }) => initramfs))].flatMap(
    (name) => adapters.openInitramfs(host, name) ?? [],
  )
  const distro = readDistro(host, adapters).adapter
  const leaving = leavingSettings(journal, claims)
  const paths = leaving.map(({ path }) => path)
  const loaderNames = adapters.bootloaders.map(({ name }) => name)
  const forLoader = leaving.filter((one) => kernelArgumentIn(one, loaderNames) !== undefined)
  const forImage = leaving.filter((one) => !forLoader.includes(one) && !isConfirmFile(one.path))
  const commands = onceEach([
    ...(forImage.length > 0 ? generators.flatMap((one) => one.commands(externalRemoval(forImage, one.name))) : []),
    ...loaders
      .filter(({ embedsInitramfs }) => forLoader.length > 0 || embedsInitramfs)
      .flatMap((one) => one.commands(externalRemoval(forLoader, one.name))),
    ...stopTimerCommands(host, paths),
    ...externalCommands(host, distro, [], leaving),
    ...reloadCommands(host, paths, false),
  ])
  // Our kernel arguments, where the boot loaders' tools have copied them since.
  const tokens = leaving.flatMap((one) => (one.kind === 'command-line' && one.layout === 'file' ? [one.token] : []))
  const derived = loaders.flatMap((one) => one.derived?.(tokens) ?? []).filter(({ path }) => !paths.includes(path))
  const plan = planUndo(host.files, journal, claims, commands, derived)
  plan.notes.push(...overrideNotes(host.files, [...new Set(claims.map(({ owner }) => owner))]))
  // A whole module of NixOS is imported by a person too.
  const isModule = ({ kind, path }: Setting): boolean => kind === 'nix-item' || path.endsWith('.nix')
  const modules = new Set(leaving.flatMap((setting) => (isModule(setting) ? [setting.path] : [])))
  plan.notes.push(...[...modules].flatMap((path) => distro?.declarative?.undoSteps(path) ?? []))
  if (commandsOf(plan).length > 0 && readSecureBoot(host.machine) !== false)
    for (const one of loaders.flatMap((loader) => loader.unsigned?.() ?? []))
      plan.notes.push(`${one}: under Secure Boot, sign it before the reboot.`)
  return plan
}

/**
 * Throws a UserError, code `in-use`, where virtual functions that the undo frees are in use: the kernel would take them
 * away all the same, or wait for ever.
 */
export function expectFreeFunctions(
  { machine, files }: Pick<Host, 'machine' | 'files'>,
  devices: () => readonly PciDevice[],
  leaving: readonly Setting[],
): void {
  const cards = tokensKeptBy(leaving, 'virtual-functions').map((token) => token.split('=')[0])
  const functions = (cards.length === 0 ? [] : devices()).filter((one) => cards.includes(one.physicalFunction ?? ''))
  const { uses, unreadable } = functionsInUse(machine, files, functions)
  const evidence = uses.map(({ address, by }) => `${address} → ${by}`)
  const [first, ...more] = [...evidence, ...unreadable.map(({ what }) => `not seen, and so not certain: ${what}`)]
  if (first !== undefined)
    throw new UserError(
      'in-use',
      `${first}: virtual functions in use are not freed; shut the guest down or end what uses them, and if that does not help, reboot; nothing was changed`,
      more,
    )
}

/** Returns what a loader or generator of this name no longer keeps itself. */
export function externalRemoval(leaving: readonly Setting[], name: string): ExternalTokens {
  return { add: [], remove: tokensKeptBy(leaving, name) }
}
