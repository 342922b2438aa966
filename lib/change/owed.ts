import type { JournalRecord } from './journal.ts'
import { commandsOf, type Plan } from './plan.ts'

// Boot files (images and boot entries) that a run leaves to the next one, so that two runs make them once. The journal
// says that they are owed until an entry names the run that owes them as `made`.

/** The option by which a run leaves its boot files to the next one. */
export const LATER = 'boot-files-later'

/**
 * Returns the plan with the commands that make boot files marked as left to the next run. What programs keep by commands of
 * their own is no file that another run could make again: such a plan stays as it is.
 */
export function leavingBootFiles(plan: Plan, journal: readonly JournalRecord[]): Plan {
  if (plan.settings.some(({ kind }) => kind === 'external')) return plan
  const changes = plan.changes.map((change) =>
    change.kind === 'command' && change.touches.length > 0 && !change.unseen
      ? { ...change, later: true as const }
      : change,
  )
  const left = leftCommands({ ...plan, changes })
  if (left.length === 0) return plan
  const owed = owingRuns(journal).flatMap(({ entry }) => leftCommands(entry.plan))
  // All of it is owed already.
  if (left.length === changes.length && left.every((one) => owed.includes(one))) return { ...plan, changes: [] }
  const note = `Left to the next run with --apply, of this script or another: ${left.join(', ')}. Until then this is not in force.`
  return { ...plan, changes, notes: [...plan.notes, note] }
}

/** Returns the commands of a plan that its run leaves to a later one, as a person types them. */
export function leftCommands(plan: Plan): string[] {
  return commandsOf(plan).flatMap(({ later, argv }) => (later ? [argv.join(' ')] : []))
}

/** Returns the runs whose boot files were left to a later one, and made by none since, oldest first. */
export function owingRuns(journal: readonly JournalRecord[]): JournalRecord[] {
  // What takes back a run that is complete makes its boot files anew; of another one, the old ones are put back.
  const made = new Set(journal.flatMap(({ complete, entry }) => (complete ? (entry.made ?? []) : [])))
  return journal.filter(
    ({ number, state, entry }) => state === 'done' && !made.has(number) && leftCommands(entry.plan).length > 0,
  )
}
