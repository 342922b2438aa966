import type { JournalRecord } from '../change/journal.ts'
import type { EntryFacts } from '../change/journal-entry.ts'
import type { Plan } from '../change/plan.ts'
import type { Finding } from '../core/finding.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import type { Host } from '../system/system.ts'
import type { ChangeView } from '../views/answers.ts'
import type { BindVfio } from '../views/changes.ts'
import type { BootFileRequirements } from './verify-boot-files.ts'

/** A plan, with all that is needed to show it, to apply it, and to recognise it later. */
export interface Proposal {
  plan: Plan
  host: Pick<Host, 'files' | 'running'>
  /** The journal, which tells the runs that were cut short and the seconds that commands took. */
  journal: readonly JournalRecord[]
  /** The devices that the answer is about. */
  devices: BindVfio['devices']
  findings: Finding[]
  /** Who has each device after a boot with the plan; none where that is not foreseen. */
  boots?: readonly PredictedBoot[]
  /** Is there anything to apply? By default, any change of a file; an undo may only end claims. */
  pending?: boolean
  /** Is the answer no all the same, because something is missing that no plan can add? */
  lacking?: boolean
  /** The facts for the journal, beside the plan. */
  entry?: Partial<EntryFacts>
  /** The contents that the commands must give boot entries and images. */
  bootFiles?: BootFileRequirements
  /** The same for those that earlier runs left to this one. */
  owed?: BootFileRequirements
  view: ChangeView
}
