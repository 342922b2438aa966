import { claimsOf, type JournalRecord } from '../change/journal.ts'
import { changesReplacing, type FileChange } from '../change/plan.ts'
import { type Content, hasSetting, type PlannedSetting, type Setting } from '../change/settings.ts'
import { contentReader } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import { readOsRelease } from '../host/os-release.ts'
import type { Reader } from '../host/reader.ts'
import type { SystemFacts } from './plan-settings.ts'
import type { RenderedRequirements } from './render-files.ts'
import type { Requirement } from './requirement.ts'
import type { DeclarativeSystem, NixModule } from './system.ts'

/**
 * The whole backend `nix`: returns the requirements as one module of our own, which a person imports, and its `path`.
 * `output`: the file that the person named, if any. Throws the UserErrors of `moduleSettings` and `nixModuleChanges`.
 */
export function renderNix(
  facts: SystemFacts,
  declarative: DeclarativeSystem,
  requirements: readonly Requirement[],
  output: string | null,
): RenderedRequirements & { path: string } {
  const { items: settings, path } = moduleSettings(facts, declarative, declarative.binding, requirements, output)
  const changes = nixModuleChanges(facts.host.files, settings)
  const regenerated = { images: false, entries: false }
  return { changes, settings, notes: [], regenerated, tokens: [], imageRequirements: null, path }
}

/**
 * The backend `nix`: returns the settings of a module of our own that meet the requirements (`items`), its path, and
 * the requirements that it cannot express (`others`): their files are as on other systems.
 * Throws a UserError with code `not-ours` for a file that somebody else wrote.
 */
export function moduleSettings(
  { host, journal }: SystemFacts,
  declarative: DeclarativeSystem,
  module: NixModule,
  requirements: readonly Requirement[],
  output: string | null,
): { items: PlannedSetting[]; others: Requirement[]; path: string } {
  const { version } = readOsRelease(host.files)
  const place = locateNixModule(host.files, journal, {
    requested: output,
    usual: module.path,
    head: module.head(version),
  })
  const others: Requirement[] = []
  const items = requirements.flatMap((one): PlannedSetting[] => {
    const { reason, owners, request } = one
    const owned = { owners, ...(request === undefined ? {} : { request }) }
    // A setting that an earlier run wrote.
    if (one.kind === 'setting' && one.setting.kind === 'nix-item') return [{ ...one.setting, ...owned }]
    if (one.kind === 'setting') {
      others.push(one)
      return []
    }
    return declarative.render(one, version).map((item) => ({ kind: 'nix-item', ...place, ...item, reason, ...owned }))
  })
  return { items, others, path: place.path }
}

/**
 * Returns the path of our module, and its text without any setting, as it was first written. The path is the one that
 * the person `requested`, else that of the present module, else `usual`; the first line of `head` marks a file as ours.
 * Throws a UserError with code `not-ours` for a file that somebody else wrote.
 */
function locateNixModule(
  files: Reader,
  journal: readonly JournalRecord[],
  { requested, usual, head }: { requested: string | null; usual: string; head: string },
): { path: string; head: string } {
  const mark = head.slice(0, head.indexOf('\n'))
  const known = claimsOf(journal).flatMap(({ setting }) =>
    setting.kind === 'nix-item' && setting.head?.startsWith(mark) ? [setting] : [],
  )
  const place = requested ?? known.at(-1)?.path ?? usual
  const path = files.resolve(place) ?? place
  const text = contentReader(files)(path)
  if (text !== null && !text.startsWith(mark))
    throw new UserError('not-ours', `${path}: exists, and was not written by this script; name another file`)
  return { path, head: known.find((setting) => setting.path === path)?.head ?? head }
}

/**
 * Returns the changes of the module; the new settings replace those of `leaving`.
 * Throws a UserError with code `changed` where the module has no place for a setting any more.
 */
export function nixModuleChanges(
  files: Reader,
  settings: readonly PlannedSetting[],
  leaving: readonly Setting[] = [],
): FileChange[] {
  const changes = changesReplacing(leaving, settings, contentReader(files))
  const said = (path: string): Content => {
    const change = changes.find((one) => one.path === path)
    return change === undefined ? contentReader(files)(path) : change.after
  }
  const lost = settings.find((setting) => !hasSetting(said(setting.path), setting))
  if (lost?.kind === 'nix-item')
    throw new UserError(
      'changed',
      `${lost.path}: ${lost.option} is set otherwise in it; take that back first (--undo), or move the file away`,
    )
  return changes
}
