import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { type ClaimKind, JOURNAL, type JournalEntry, LIVE_JOURNAL, parseDone, parseEntry } from './journal-entry.ts'
import type { Content } from './settings.ts'
import { type PlannedSetting, settingKey } from './settings.ts'

export interface JournalRecord {
  number: number
  /** Its folder, below the root. */
  folder: string
  entry: JournalEntry
  /** `done`: all of it happened. `broken`: the run was cut short. `undone`: taken back by undo.sh. */
  state: 'done' | 'broken' | 'undone'
  /** How long each command took, in seconds. */
  seconds: Record<string, number>
}

/**
 * The entries, oldest first. Throws a UserError with code `journal` when one cannot be understood or could be written by
 * others than its owner, `denied` to anybody but root.
 */
export function readJournal(files: Reader, journal = JOURNAL): JournalRecord[] {
  const entries: JournalRecord[] = []
  const names = files.list(journal)?.filter((name) => /^\d{4,}$/.test(name)) ?? []
  if (names.length > 0) expectOwned(files, journal)
  const live = files.root === '/' && journal === LIVE_JOURNAL
  for (const name of names) {
    const folder = `${journal}/${name}`
    for (const path of [folder, `${folder}/entry.json`]) expectOwned(files, path)
    const entry = parseEntry(folder, files.bytes(`${folder}/entry.json`)?.toString('utf8'), live)
    const done = files.bytes(`${folder}/done`)?.toString('utf8')
    const state = files.exists(`${folder}/undone`) ? 'undone' : done === undefined ? 'broken' : 'done'
    const seconds = done === undefined ? {} : parseDone(folder, done)
    entries.push({ number: Number(name), folder, entry, state, seconds })
  }
  return entries.sort((one, other) => one.number - other.number)
}

/** A journal says what is written where: nobody but root (or who runs this) may have had a hand in it. */
function expectOwned(files: Reader, path: string): void {
  const access = files.access(path)
  if (access === undefined) return
  const owners = [0, process.getuid?.()]
  if (owners.includes(access.uid) && (access.mode & 0o022) === 0) return
  const who = owners.includes(access.uid) ? 'others than its owner may write it' : `it belongs to user ${access.uid}`
  throw new UserError(
    'journal',
    `${path}: cannot be trusted, since ${who}; if it is yours, chown root and chmod go-w it, else move it away`,
  )
}

/** What the next entry is going to be called. */
export function nextNumber(journal: readonly JournalRecord[]): number {
  return Math.max(0, ...journal.map(({ number }) => number)) + 1
}

/** One setting that one owner needs, as an entry put it there. A setting stays while anybody claims it. */
export interface Claim {
  /** `settingKey` of the setting. */
  key: string
  setting: PlannedSetting
  /** As of `PlannedSetting`. */
  owner: string
  entry: JournalRecord
}

/** What is in force: the claims of all entries (of a kind) that are done, less those that were taken back. */
export function claimsOf(journal: readonly JournalRecord[], kind?: ClaimKind): Claim[] {
  let claims: Claim[] = []
  for (const recorded of journal) {
    const { undoes, undone, plan } = recorded.entry
    if (recorded.state !== 'done') continue
    claims = claims.filter(({ entry, owner }) => !undoes.includes(entry.number) || !undone.includes(owner))
    for (const setting of plan.settings)
      for (const owner of setting.owners) claims.push({ key: settingKey(setting), setting, owner, entry: recorded })
  }
  return claims.filter(({ entry }) => kind === undefined || entry.entry.kind === kind)
}

/**
 * What a file was before we first touched it: `before`, while it is still as we left it (`last`). `undefined` when we
 * never wrote it, or somebody changed it between two of our runs: then a before-image would lose that.
 */
export function historyOf(
  journal: readonly JournalRecord[],
  path: string,
): { before: Content; last: Content } | undefined {
  let history: { before: Content; last: Content } | undefined
  for (const [index, { entry, state }] of journal.entries()) {
    const change = entry.plan.changes.find((one) => one.kind === 'file' && one.path === path)
    if (state !== 'done' || change?.kind !== 'file') continue
    const held = claimsOf(journal.slice(0, index)).some(({ setting }) => setting.path === path)
    if (!held) history = { before: change.before, last: change.after }
    else if (history?.last === change.before) history.last = change.after
    else history = undefined
  }
  return history
}
