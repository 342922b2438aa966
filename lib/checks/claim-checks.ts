import { claimedArguments } from '../bind/claimed-requirements.ts'
import { CONFIRM } from '../change/confirm.ts'
import type { Claim, JournalRecord } from '../change/journal.ts'
import { leftCommands } from '../change/owed.ts'
import { hasSetting, showSetting } from '../change/settings.ts'
import { contentReader, cutShortRuns } from '../change/undo.ts'
import { type Finding, okResult, problemResult, toFinding, unknownResult } from '../core/finding.ts'
import type { Reader } from '../host/reader.ts'
import type { Bootloader, Host } from '../system/system.ts'
import type { Check } from './check.ts'

// Checks whether files and boot entries still hold the claimed settings.

/** The facts about the settings of earlier runs. */
export interface ClaimFacts {
  host: Host
  claims: readonly Claim[]
  /** The boot loader that holds the arguments. */
  bootloader: Bootloader | undefined
  /** The runs that left the making of boot files to a later one, which did not come. */
  owing: readonly JournalRecord[]
}

/** A check of `--status`, and the facts that it needs. */
type ClaimCheck<Needs extends keyof ClaimFacts> = Check<Pick<ClaimFacts, Needs>>

/** Finds runs, of any script, that were cut short: before they are taken back, nothing is as any script promised. */
export function cutShortFindings(files: Reader, journal: readonly JournalRecord[]): Finding[] {
  return cutShortRuns(files, journal).notes.map((note) =>
    toFinding({ code: 'cut-short' }, problemResult(note, [], 'run it again')),
  )
}

/** Is a dead man's switch waiting? */
export const unconfirmedCheck: ClaimCheck<'claims'> = {
  code: 'unconfirmed',
  askedBy: ['binding-status', 'tuning-status'],
  run({ claims }) {
    const scripts = claims.filter(({ owner }) => owner === CONFIRM).map(({ entry }) => entry.entry.script)
    return [...new Set(scripts)].map((script) =>
      unknownResult('All of this is going to be taken back unless it is confirmed', [], `${script} --confirm`),
    )
  },
}

/** Was the making of boot files left to a run that did not come? */
export const owedCheck: ClaimCheck<'owing'> = {
  code: 'boot-files',
  askedBy: ['binding-status', 'tuning-status'],
  run: ({ owing }) =>
    owing.map(({ entry: { script, time, plan } }) => {
      const left = leftCommands(plan).join(', ')
      const what = `${script} of ${time} left the making of boot files to a later run: ${left}`
      return problemResult(what, [], `run the same again with --apply, or any other script that changes the boot`)
    }),
}

/** Do the files still hold their settings? */
export const filesCheck: ClaimCheck<'host' | 'claims'> = {
  code: 'files',
  askedBy: ['binding-status', 'tuning-status'],
  run({ host, claims }) {
    const read = contentReader(host.files)
    const files = claims.filter(({ setting }) => setting.kind !== 'external')
    // A boot entry disappears with its kernel.
    const ended = ({ setting }: Claim): boolean =>
      setting.kind === 'command-line' && setting.layout === 'options' && read(setting.path) === null
    const paths = [...new Set(files.filter((one) => !ended(one)).map(({ setting }) => setting.path))]
    return paths.map((path) => {
      const text = read(path)
      const own = claims.filter(({ setting }) => setting.path === path)
      const lost = new Set(
        own.filter(({ setting }) => !hasSetting(text, setting)).map(({ setting }) => showSetting(setting)),
      )
      if (lost.size === 0) return okResult(`${path} says what it should`)
      return problemResult(
        `${path} ${text === null ? 'is gone' : 'was changed'}`,
        [...lost].map((one) => `not there: ${one}`),
        'run the same again with --apply, or take it back with --undo',
      )
    })
  },
}

/** Do the boot entries carry the arguments? */
export const bootEntriesCheck: ClaimCheck<'claims' | 'bootloader'> = {
  code: 'boot-entries',
  askedBy: ['binding-status', 'tuning-status'],
  run({ claims, bootloader }) {
    const tokens = claimedArguments(claims)
    if (tokens.length === 0) return []
    if (bootloader === undefined) return unknownResult('which boot loader has the arguments is not known', [])
    const commands = bootloader.commands().map(({ argv }) => argv.join(' '))
    const next = commands.join(' && ') || 'run the same again with --apply, or take it back with --undo'
    return bootloader
      .observe(tokens, false)
      .map(({ ok, proof }) =>
        ok === null ? unknownResult(proof, []) : ok ? okResult(proof) : problemResult(proof, [], next),
      )
  },
}
