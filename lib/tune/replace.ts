import { CONFIRM } from '../change/confirm.ts'
import { claimsOf } from '../change/journal.ts'
import { kernelArgumentIn, type Setting, settingKey } from '../change/settings.ts'
import { type EndingClaims, endingClaims, leavingSettings } from '../change/undo.ts'
import { UserError } from '../core/error.ts'
import type { TuneFacts, TuneRequirements } from './feature.ts'

/** The settings that are removed because a feature gets another value. */
export interface Replaced extends EndingClaims {
  /** The settings that leave the machine, in groups by what has to be made again. */
  leaving: { files: Setting[]; loader: Setting[]; items: Setting[] }
  notes: string[]
}

/**
 * Finds the settings of earlier runs that the new `settings` of a feature replace: one feature has one value. Throws a
 * UserError: `unconfirmed` where such a run waits for a confirmation, `contradiction` where a setting was made through
 * another boot loader than today's.
 */
export function findReplaced(
  facts: TuneFacts,
  requirements: readonly TuneRequirements[],
  settings: readonly Setting[],
): Replaced {
  const { journal, bootloader } = facts
  const all = claimsOf(journal, 'tuning')
  const keys = new Set(settings.map(settingKey))
  const going = all.filter(
    ({ owner, key, setting }) =>
      !keys.has(key) && requirements.some(({ feature, replaces }) => feature === owner && replaces(setting)),
  )
  for (const { owner, entry } of going) {
    if (all.some((one) => one.owner === CONFIRM && one.entry === entry))
      throw new UserError(
        'unconfirmed',
        `${owner}: its value waits for a confirmation: tune-host --confirm, or tune-host --undo --apply, first`,
      )
  }
  const other = going.find(
    ({ setting, entry: { entry } }) =>
      kernelArgumentIn(setting, [entry.adapters.bootloader]) !== undefined &&
      entry.adapters.bootloader !== bootloader.adapter?.name,
  )
  if (other !== undefined)
    throw new UserError(
      'contradiction',
      `${other.owner} was set up through ${other.entry.entry.adapters.bootloader}: take that back first (tune-host --undo ${other.owner} --apply)`,
    )
  const leaving = leavingSettings(journal, going)
  const loader = leaving.filter((one) => kernelArgumentIn(one, [bootloader.adapter?.name ?? null]) !== undefined)
  const tokens = loader.flatMap((one) => (one.kind === 'command-line' && one.layout === 'file' ? [one.token] : []))
  const derived = (tokens.length > 0 ? (bootloader.adapter?.derived?.(tokens) ?? []) : []).filter(
    ({ path }) => !loader.some((one) => one.path === path),
  )
  const items = leaving.filter(({ kind }) => kind === 'nix-item')
  const ending = endingClaims(all, going, keys)
  return {
    leaving: {
      files: leaving.filter((setting) => !loader.includes(setting) && !items.includes(setting)),
      loader: [...loader, ...derived],
      items,
    },
    ...ending,
    notes: ending.undone.map(
      (feature) => `${feature}: the new value takes the place of the one that was set up before.`,
    ),
  }
}
