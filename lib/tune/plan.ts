import type { Plan } from '../plan/plan.ts'
import type { PlannedSetting } from '../plan/setting.ts'
import { expectKnownSystem, settle } from '../plan/settle.ts'
import type { TuneFacts, Wish } from './feature.ts'
import { keptCommands } from './programs.ts'
import { reloads } from './reload.ts'

/** A plan, and the kernel arguments that the boot entries must carry afterwards. */
export interface Tuning {
  plan: Plan
  tokens: string[]
  made: { entries: boolean }
}

/**
 * The plan for all that was asked for. A setting is claimed by its feature's name, so that each can be taken back alone.
 * Throws a UserError, code `unknown-system`, where kernel arguments are wanted and the boot loader is not known.
 */
export function planTuning(facts: TuneFacts, wishes: readonly Wish[]): Tuning {
  const files = wishes.flatMap(({ feature, files }) =>
    files.map((setting): PlannedSetting => ({ ...setting, devices: [feature] })),
  )
  const tokens = wishes.flatMap((one) => one.arguments)
  expectKnownSystem(facts, files, null, tokens)
  const loader = wishes.flatMap(({ feature, arguments: wanted, reason }) =>
    (
      facts.bootloader.adapter?.settings(
        facts.host,
        wanted.map((token) => ({ token, reason })),
      ) ?? []
    ).map((setting): PlannedSetting => ({ ...setting, devices: [feature] })),
  )
  const settled = settle(facts, { files, image: [], loader })
  const changed = new Set(settled.changes.flatMap((change) => (change.kind === 'file' ? [change.path] : [])))
  const fresh = wishes.filter(({ files }) => files.some(({ path }) => changed.has(path)))
  const fromPrograms = keptCommands(facts.host, facts.distro.adapter, (by) => {
    const settings = settled.settings.filter((one) => one.kind === 'kept' && one.by === by)
    return { add: settings.flatMap((one) => (one.kind === 'kept' ? [one.token] : [])), remove: [] }
  })
  const changes = [...settled.changes, ...fromPrograms, ...reloads(facts.host, [...changed], true)]
  const late = settled.made.entries || fresh.some(({ rebootNeeded }) => rebootNeeded)
  return {
    plan: { changes, settings: settled.settings, notes: wishes.flatMap(({ notes }) => notes), rebootNeeded: late },
    tokens,
    made: { entries: settled.made.entries },
  }
}
