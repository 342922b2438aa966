import type { Change, Plan } from '../change/plan.ts'
import { filesAfter } from '../change/planned-files.ts'
import type { PlannedSetting, Setting } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import type { NixItem } from '../edit/nix.ts'
import type { Reader } from '../host/reader.ts'
import { locateNixModule, nixModuleChanges } from '../system/nix-module.ts'
import { expectKnownSystem, planSettings } from '../system/plan-settings.ts'
import type { DeclarativeSystem } from '../system/system.ts'
import type { TuneFacts, TuneRequirements } from './feature.ts'
import { overruledBy } from './overruled.ts'
import { reloadCommands } from './reload.ts'
import { findReplaced, type Replaced } from './replace.ts'
import { externalCommands } from './services.ts'

/** A plan, and the kernel arguments that the boot entries must carry afterwards. */
export interface TunePlan {
  plan: Plan
  tokens: string[]
  made: { entries: boolean }
  /** What goes for a new value of the same feature. */
  replaced: Replaced
}

/**
 * The plan for all that was asked for. A setting is claimed by its feature's name, so that each can be taken back alone.
 * Throws the UserErrors of `replacedBy`, and: `unknown-system` where kernel arguments are wanted and the boot loader is
 * not known; `contradiction` where a line of another file would win.
 */
export function planTuneHost(
  facts: TuneFacts,
  requirements: readonly TuneRequirements[],
  output: string | null,
): TunePlan {
  const { declarative } = facts.distro.adapter ?? {}
  if (declarative !== undefined) return planTuneModule(facts, declarative, requirements, output)
  const files = requirements.flatMap(({ feature, files }) =>
    files.map((setting): PlannedSetting => ({ ...atRealPath(facts.host.files, setting), devices: [feature] })),
  )
  const tokens = requirements.flatMap((one) => one.arguments)
  expectKnownSystem(facts, files, null, tokens)
  const loader = requirements.flatMap(({ feature, arguments: required, reason }) =>
    (facts.bootloader.adapter?.settings(required.map((token) => ({ token, reason }))) ?? []).map(
      (setting): PlannedSetting => ({ ...setting, devices: [feature] }),
    ),
  )
  const replaced = findReplaced(facts, requirements, [...files, ...loader])
  const { leaving } = replaced
  const settled = planSettings(facts, { files, image: [], loader, leaving })
  expectInForce(facts.host.files, settled.changes, files)
  const changed = new Set(settled.changes.flatMap((change) => (change.kind === 'file' ? [change.path] : [])))
  const touched = [...files, ...leaving.files.map((one) => ({ ...one, devices: replaced.undone }))]
  const fresh = requirements.filter(({ feature }) =>
    touched.some(({ path, devices }) => devices.includes(feature) && changed.has(path)),
  )
  const fromPrograms = externalCommands(facts.host, facts.distro.adapter, (by) => {
    const settings = settled.settings.filter((one) => one.kind === 'kept' && one.by === by)
    return { add: settings.flatMap((one) => (one.kind === 'kept' ? [one.token] : [])), remove: [] }
  })
  const changes = [...settled.changes, ...fromPrograms, ...reloadCommands(facts.host, [...changed], true)]
  const late = settled.regenerated.entries || fresh.some(({ rebootNeeded }) => rebootNeeded)
  return {
    plan: {
      changes,
      settings: [...settled.settings, ...replaced.remaining],
      notes: [...replaced.notes, ...requirements.flatMap(({ notes }) => notes)],
      rebootNeeded: late,
    },
    tokens,
    made: { entries: settled.regenerated.entries },
    replaced,
  }
}

/**
 * The same on a system that is described: a module of our own, and the files that are written there too. `output`: the
 * module's file, where the person named one. Throws the UserErrors of `modulePlace` and `moduleChanges`.
 */
function planTuneModule(
  facts: TuneFacts,
  declarative: DeclarativeSystem,
  requirements: readonly TuneRequirements[],
  output: string | null,
): TunePlan {
  const { host, journal } = facts
  const described = declarative.host
  const place = locateNixModule(host.files, journal, { asked: output, usual: described.path, head: described.head })
  const items: PlannedSetting[] = []
  const files: PlannedSetting[] = []
  for (const { feature, reason, arguments: tokens, files: lines, items: more } of requirements) {
    const devices = [feature]
    const add = (item: NixItem, why = reason): void => {
      items.push({ kind: 'item', ...place, ...item, reason: why, devices })
    }
    for (const text of tokens) add(declarative.item({ kind: 'argument', text }))
    for (const item of more) add(item)
    for (const setting of lines) {
      const item = setting.kind === 'line' ? described.line(setting.path, setting.line) : undefined
      if (item !== undefined) add(item, setting.reason)
      else (setting.kind === 'item' ? items : files).push({ ...atRealPath(host.files, setting), devices })
    }
  }
  const replaced = findReplaced(facts, requirements, [...files, ...items])
  const { leaving } = replaced
  const { changes, settings } = planSettings(facts, {
    files,
    image: [],
    loader: [],
    leaving: { ...leaving, loader: [] },
  })
  const paths = changes.flatMap((change) => (change.kind === 'file' ? [change.path] : []))
  const module = nixModuleChanges(host.files, items, leaving.items)
  const steps = module.length > 0 ? declarative.steps(place.path) : []
  return {
    plan: {
      changes: [...module, ...changes, ...reloadCommands(host, paths, true)],
      settings: [...items, ...settings, ...replaced.remaining],
      notes: [...replaced.notes, ...requirements.flatMap(({ notes }) => notes), ...steps],
      rebootNeeded: module.length > 0,
    },
    tokens: [],
    made: { entries: false },
    replaced,
  }
}

/** Throws a UserError, code `contradiction`, for a line that another file's would keep from being in force. */
function expectInForce(files: Reader, changes: readonly Change[], settings: readonly Setting[]): void {
  const after = filesAfter(files, changes)
  for (const setting of settings) {
    const [first, ...more] = overruledBy(after, setting)
    if (first !== undefined)
      throw new UserError(
        'contradiction',
        `${first}: keeps ${setting.path} from being in force; take it out first, nothing was written`,
        more,
      )
  }
}

/** A setting where its folder really is. */
function atRealPath(files: Reader, setting: Setting): Setting {
  if (setting.path === '') return setting
  const folder = setting.path.replace(/\/[^/]*$/, '')
  return { ...setting, path: `${files.resolve(folder) ?? folder}${setting.path.slice(folder.length)}` }
}
