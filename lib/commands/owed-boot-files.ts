import { claimedArguments, claimedGenerator, claimedRequirements } from '../bind/claimed-requirements.ts'
import { claimsOf } from '../change/journal.ts'
import { LATER, owingRuns } from '../change/owed.ts'
import { type Change, type CommandChange, onceEach } from '../change/plan.ts'
import { readHost } from '../system/read-system.ts'
import type { Adapters } from '../system/system.ts'
import type { Proposal } from './proposal.ts'
import type { Context } from './run-script.ts'

/**
 * Returns a proposal that also makes the boot files that earlier runs left to a later one (`--boot-files-later`), by their
 * adapters and for the kernels of today: images before the proposal's own commands, boot entries after them, each once.
 */
export function withOwedBootFiles(context: Context, adapters: Adapters, proposal: Proposal): Proposal {
  const owing = context.arguments.flag(LATER) ? [] : owingRuns(proposal.journal)
  const { plan, pending = plan.changes.length > 0, entry } = proposal
  const [oldest] = owing
  if (oldest === undefined) return proposal
  const host = readHost(context.machine)
  const namesOf = (kind: 'bootloader' | 'initramfs'): string[] => [
    ...new Set(owing.flatMap((one) => one.entry.adapters[kind] ?? [])),
  ]
  const images = namesOf('initramfs').flatMap((name) => adapters.openInitramfs(host, name)?.commands() ?? [])
  const entries = namesOf('bootloader').flatMap((name) => adapters.openBootloader(host, name)?.commands() ?? [])
  if (images.length + entries.length === 0) return proposal
  const commands: CommandChange[] = []
  const others: Change[] = []
  for (const change of plan.changes)
    if (change.kind === 'command') commands.push(change)
    else others.push(change)
  const { undoes = [], undone = [] } = entry ?? {}
  const claims = claimsOf(proposal.journal).filter(
    (one) => owing.includes(one.entry) && !(undoes.includes(one.entry.number) && undone.includes(one.owner)),
  )
  const [bootloader = null] = namesOf('bootloader')
  const [initramfs = null] = namesOf('initramfs')
  const notes = owing.map(
    ({ entry: { script, time } }) => `${script} of ${time} left the making of boot files to this run.`,
  )
  return {
    ...proposal,
    pending: true,
    plan: {
      changes: [...others, ...onceEach([...images, ...commands, ...entries])],
      // A run that makes boot files only has set nothing up.
      settings: pending ? plan.settings : [],
      notes: [...plan.notes, ...notes],
      rebootNeeded: true,
    },
    entry: {
      ...(pending ? entry : { kind: oldest.entry.kind, adapters: { bootloader, initramfs } }),
      made: owing.map(({ number }) => number),
    },
    owed: {
      ...{ adapters, bootloader, tokens: claimedArguments(claims) },
      ...{ initramfs: claimedGenerator(claims), requirements: claimedRequirements(claims) },
    },
  }
}
