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
import type { DeclarativeSystem } from './system.ts'

/**
 * The backend `nix`: requirements as one module of our own, which a person imports. `output`: its file, where the person
 * named one. Throws a UserError: `not-ours` for a file that somebody else wrote, `changed` where the module has no place
 * for a setting any more.
 */
export function renderNix(
  { host, journal }: SystemFacts,
  declarative: DeclarativeSystem,
  requirements: readonly Requirement[],
  output: string | null,
): RenderedRequirements & { path: string } {
  const place = locateNixModule(host.files, journal, {
    requested: output,
    usual: declarative.path,
    head: declarative.head(readOsRelease(host.files).version),
  })
  const settings = requirements.flatMap((one) =>
    declarative.render(one).map((item): PlannedSetting => {
      const { reason, owners } = one
      return { kind: 'nix-item', ...place, ...item, reason, owners }
    }),
  )
  const changes = nixModuleChanges(host.files, settings)
  const regenerated = { images: false, entries: false }
  return { changes, settings, regenerated, tokens: [], imageRequirements: null, path: place.path }
}

/**
 * Where it is and what it holds without any setting: as it was when it was first written. `asked` by the person, else
 * where it is already, else a `usual` place; what is ours is told by the first line of `head`.
 * Throws a UserError with code `not-ours` for a file that somebody else wrote.
 */
export function locateNixModule(
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

/** The change of the module; `leaving` goes for the new settings. Throws a UserError with code `changed` where it has no place for a setting any more. */
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
