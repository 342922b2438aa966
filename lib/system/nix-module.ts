import { claimsOf, type JournalRecord } from '../change/journal.ts'
import { changesReplacing, type FileChange } from '../change/plan.ts'
import { type Content, hasSetting, type PlannedSetting, type Setting } from '../change/settings.ts'
import { contentReader } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'

// A file of our own that a described system (NixOS) imports.

/**
 * Where it is and what it holds without any setting: as it was when it was first written. `asked` by the person, else
 * where it is already, else a `usual` place; what is ours is told by the first line of `head`.
 * Throws a UserError with code `not-ours` for a file that somebody else wrote.
 */
export function locateNixModule(
  files: Reader,
  journal: readonly JournalRecord[],
  { asked: requested, usual, head }: { asked: string | null; usual: string; head: string },
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
