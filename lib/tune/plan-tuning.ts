import type { Change, Plan } from '../change/plan.ts'
import { filesAfter } from '../change/planned-files.ts'
import type { PlannedSetting } from '../change/settings.ts'
import { allOrContradictions, UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { externalCommands } from '../system/external-tools.ts'
import { planSettings } from '../system/plan-settings.ts'
import { fileSettings } from '../system/render-files.ts'
import { moduleSettings, nixModuleChanges } from '../system/render-nix.ts'
import type { Requirement } from '../system/requirement.ts'
import type { TuneFacts, TuneRequirements } from './feature.ts'
import { overruledBy } from './features.ts'
import { reloadCommands } from './reload.ts'
import { findReplaced, type Replaced } from './replace.ts'

/** A plan, and the kernel arguments that the boot entries must carry afterwards. */
interface TunePlan {
  plan: Plan
  tokens: string[]
  /** Do boot entries change, by an edit or by a command? */
  made: { entries: boolean }
  /** The settings that a new value of the same feature replaces. */
  replaced: Replaced
}

/**
 * Plans all requested features. A setting is owned by its feature, so that each can be taken back alone.
 * Throws the UserErrors of `findReplaced`, and: `unknown-system` where kernel arguments are required and the boot
 * loader is not known; `contradiction` where a line of another file would win.
 */
export function planTuneHost(facts: TuneFacts, tuning: readonly TuneRequirements[], output: string | null): TunePlan {
  const { host, distro } = facts
  const { declarative } = distro.adapter ?? {}
  const requirements = tuning.flatMap(({ feature, request, reason, required }) =>
    required.map((one): Requirement => ({ reason, ...one, owners: [feature], request })),
  )
  const nix = declarative && moduleSettings(facts, declarative, declarative.tuning, requirements, output)
  const { tokens, ...groups } = fileSettings(facts, nix?.others ?? requirements)
  const { files, loader } = groups
  const items = nix?.items ?? []
  const replaced = findReplaced(facts, tuning, [...files, ...loader, ...items])
  const { leaving } = replaced
  const settled = planSettings(facts, { ...groups, leaving })
  expectInForce(host.files, settled.changes, files)
  const changed = new Set(settled.changes.flatMap((change) => (change.kind === 'file' ? [change.path] : [])))
  const touched = [...files, ...leaving.files.map((one) => ({ ...one, owners: replaced.undone }))]
  const fresh = tuning.filter(({ feature }) =>
    touched.some(({ path, owners }) => owners.includes(feature) && changed.has(path)),
  )
  // Some loaders' entries are edited, and no command makes them.
  const entries = settled.regenerated.entries || [...loader, ...leaving.loader].some(({ path }) => changed.has(path))
  const module = nix === undefined ? [] : nixModuleChanges(host.files, items, leaving.items)
  const fromPrograms = externalCommands(host, distro.adapter, settled.settings, [])
  const steps = nix !== undefined && module.length > 0 ? (declarative?.steps(nix.path) ?? []) : []
  return {
    plan: {
      changes: [...module, ...settled.changes, ...fromPrograms, ...reloadCommands(host, [...changed], true)],
      settings: [...items, ...settled.settings, ...replaced.remaining],
      notes: [...replaced.notes, ...settled.notes, ...tuning.flatMap(({ notes }) => notes), ...steps],
      rebootNeeded: module.length > 0 || entries || fresh.some(({ rebootNeeded }) => rebootNeeded),
    },
    tokens,
    made: { entries },
    replaced,
  }
}

/** Throws a UserError, code `contradiction`, for a line that another file's would keep from being in force. */
function expectInForce(files: Reader, changes: readonly Change[], settings: readonly PlannedSetting[]): void {
  const after = filesAfter(files, changes)
  allOrContradictions(
    settings.map((setting) => () => {
      const [first, ...more] = overruledBy(after, setting.owners[0], setting)
      if (first !== undefined)
        throw new UserError(
          'contradiction',
          `${first}: keeps ${setting.path} from being in force; take it out first, nothing was written`,
          more,
        )
    }),
  )
}
