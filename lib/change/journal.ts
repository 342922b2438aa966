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
  /** Did all of it happen, whatever was taken back since? */
  complete: boolean
  /** The seconds that each command took. */
  seconds: Record<string, number>
}

/**
 * Returns the entries of a journal, oldest first. Throws a UserError with code `journal` when one cannot be understood
 * or could be written by others than its owner, `denied` when the user is not root.
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
    const complete = done !== undefined
    const state = files.exists(`${folder}/undone`) ? 'undone' : complete ? 'done' : 'broken'
    const seconds = complete ? parseDone(folder, done) : {}
    entries.push({ number: Number(name), folder, entry, state, complete, seconds })
  }
  return entries.sort((one, other) => one.number - other.number)
}

/** Throws unless only root, or the user who runs this, can have written the path: an undo obeys the journal. */
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

/** Returns the number of the next entry. */
export function nextNumber(journal: readonly JournalRecord[]): number {
  return Math.max(0, ...journal.map(({ number }) => number)) + 1
}

/** One setting that one owner needs, and the entry that recorded it. A setting stays while any owner claims it. */
export interface Claim {
  /** The `settingKey` of the setting. */
  key: string
  setting: PlannedSetting
  /** One of the `owners` of the `PlannedSetting`. */
  owner: string
  entry: JournalRecord
}

/** Returns the claims in force: those of all entries (of a kind) that are done, without those taken back since. */
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
 * Returns the content of a file before this toolkit first wrote it (`before`), and the content that the toolkit wrote
 * last (`last`). `undefined` when it never did, or when somebody changed the file between two runs: restoring `before`
 * would lose that change.
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
