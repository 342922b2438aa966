import type { Reader } from '../host/reader.ts'
import { type Claim, claimsOf, historyOf, type JournalRecord } from './journal.ts'
import {
  type Change,
  type CommandChange,
  changesFor,
  commandsNow,
  type DriverChange,
  type FileChange,
  type Plan,
  touchedFiles,
} from './plan.ts'
import { type Content, hasSetting, type PlannedSetting, removeSetting, type Setting } from './settings.ts'

/**
 * Returns the plan that takes claims back. A file that is still as we left it, and that no other claim needs, gets its
 * old content back, byte for byte; any other file loses our settings and keeps every later edit. A setting that other
 * owners need too stays. `derived`: the settings that programs made from ours meanwhile.
 */
export function planUndo(
  files: Reader,
  journal: readonly JournalRecord[],
  claims: readonly Claim[],
  commands: readonly CommandChange[],
  derived: readonly Setting[] = [],
): Plan {
  const staying = stayingClaims(journal, claims)
  const stay = new Set(staying.map(({ setting }) => setting.path))
  const settings = leavingSettings(journal, claims)
  const read = contentReader(files)
  const notes: string[] = []
  const changes = changesFor([...settings, ...derived], read, removeSetting).map((change): FileChange => {
    const history = historyOf(journal, change.path)
    if (stay.has(change.path)) return { ...change, reason: remainingReason(staying, claims, change.path) }
    if (history?.last === change.before) return { ...change, after: history.before, reason: 'as it was before' }
    if (!settings.some(({ path }) => path === change.path))
      return { ...change, reason: 'made since, with what is taken back here' }
    notes.push(`${change.path} was changed since: only our settings are taken out of it.`)
    return { ...change, reason: 'changed since: without our settings' }
  })
  notes.push(...goneFileNotes(settings, read), ...leftArgumentNotes(settings, read))
  // The images may still hold files that somebody removed already.
  const run = settings.length > 0 ? commands : []
  // What was in force at once is gone at once.
  const rebootNeeded = settings.length > 0 && claims.some(({ entry }) => entry.entry.plan.rebootNeeded)
  return { changes: [...changes, ...run], settings: [], notes, rebootNeeded }
}

/**
 * Is nothing of these claims in force, because no boot was made since any of their owners first had one? `boot` is the
 * ID of the present boot; `null`, where it is not known, gives no.
 */
export function waitsForBoot(
  journal: readonly JournalRecord[],
  claims: readonly Claim[],
  boot: string | null,
): boolean {
  const owners = new Set(claims.map(({ owner }) => owner))
  const own = journal.filter(({ entry: { plan, undone } }) =>
    [...undone, ...plan.settings.flatMap((setting) => setting.owners)].some((owner) => owners.has(owner)),
  )
  return boot !== null && own.every(({ entry }) => entry.boot === boot && entry.plan.rebootNeeded)
}

/** Returns the reason that tells who needs the rest of a file. */
function remainingReason(staying: readonly Claim[], claims: readonly Claim[], path: string): string {
  const kinds = new Set(claims.map(({ entry }) => entry.entry.kind))
  const rest = staying.filter(({ setting }) => setting.path === path).map(({ entry }) => entry.entry)
  const others = new Set(rest.filter(({ kind }) => !kinds.has(kind)).map(({ script }) => script))
  if (others.size > 0) return `${[...others].join(' and ')} still needs the rest`
  return rest.some(({ functions }) => functions.length > 0)
    ? 'other devices still need the rest'
    : 'the rest is still needed'
}

function stayingClaims(journal: readonly JournalRecord[], claims: readonly Claim[]): Claim[] {
  const gone = new Set(claims.map(({ entry, owner, key }) => `${entry.number} ${owner} ${key}`))
  return claimsOf(journal).filter(({ entry, owner, key }) => !gone.has(`${entry.number} ${owner} ${key}`))
}

/** For the journal: the entries and owners whose claims end because others take their place, and what of these stays. */
export interface EndingClaims {
  undoes: number[]
  undone: string[]
  remaining: PlannedSetting[]
}

/**
 * Returns what ends with the claims `going`, among `all` of their kind; `keys` are those of the settings that are claimed
 * anew. An entry ends for an owner as a whole, so what else it claims for that owner is claimed again.
 */
export function endingClaims(all: readonly Claim[], going: readonly Claim[], keys: ReadonlySet<string>): EndingClaims {
  const undoes = [...new Set(going.map(({ entry }) => entry.number))]
  const undone = [...new Set(going.map(({ owner }) => owner))]
  const remaining = all
    .filter(({ owner, entry }) => undone.includes(owner) && undoes.includes(entry.number))
    .filter((claim) => !going.includes(claim) && !keys.has(claim.key))
    .map(({ setting, owner }) => ({ ...setting, owners: [owner] }))
  return { undoes, undone, remaining }
}

/**
 * Returns the settings that no owner needs once these claims are gone. A whole file that another owner has there too stays,
 * though another version of this toolkit gave it another content.
 */
export function leavingSettings(journal: readonly JournalRecord[], claims: readonly Claim[]): Setting[] {
  const staying = stayingClaims(journal, claims)
  const external = new Set(staying.map(({ key }) => key))
  const files = new Set(staying.flatMap(({ setting: { kind, path } }) => (kind === 'file' ? [path] : [])))
  // Of two equal settings, the one with `head` is kept: it made the file.
  const leaving = claims
    .filter(({ key, setting: { kind, path } }) => !external.has(key) && !(kind === 'file' && files.has(path)))
    .sort((one, other) => Number(one.setting.head !== undefined) - Number(other.setting.head !== undefined))
  return [...new Map(leaving.map(({ key, setting }) => [key, setting])).values()]
}

/** Returns notes on arguments in code whose effect only a shell could tell: the person has to take them out. */
function leftArgumentNotes(settings: readonly Setting[], read: (path: string) => Content): string[] {
  return settings.flatMap((setting) => {
    if (setting.kind !== 'shell-argument') return []
    const text = read(setting.path)
    if (!text?.includes(setting.token) || hasSetting(text, setting)) return []
    return [`${setting.path} still holds ${setting.token}, in a place that was changed since: take it out by hand.`]
  })
}

/** Returns notes on files of settings that somebody removed already. */
function goneFileNotes(settings: readonly Setting[], read: (path: string) => Content): string[] {
  const files = settings.filter(({ kind }) => kind !== 'external')
  const paths = new Set(files.map(({ path }) => path).filter((path) => read(path) === null))
  return [...paths].map((path) => `${path} is gone already.`)
}

/** Returns a function that reads a file's content, one character a byte. */
export function contentReader(files: Reader): (path: string) => Content {
  return (path) => files.bytes(path)?.toString('latin1') ?? null
}

/** The changes that take an entry back. */
export interface RollbackPlan {
  /** The changes in the order in which they are made. */
  changes: (FileChange | DriverChange)[]
  /** The generated files, each with the path of its copy; `null`: there was no such file, and it is removed. */
  images: { path: string; copy: string | null }[]
  /** The commands that take back what no copy could be made of. */
  commands: (readonly string[])[]
  /** The files that somebody else changed meanwhile: only our settings are taken out of them. */
  foreign: string[]
}

/** Returns the changes that take back an entry: a pure function of the files as they are. */
export function planRollback(files: Reader, { folder, entry }: Pick<JournalRecord, 'folder' | 'entry'>): RollbackPlan {
  const read = contentReader(files)
  const back: RollbackPlan = { changes: [], images: [], commands: [], foreign: [] }
  // Images are copied before the first file is written: without the mark no command ran.
  if (files.exists(`${folder}/images/complete`)) {
    for (const [index, path] of touchedFiles(commandsNow(entry.plan)).entries()) {
      const copy = `${folder}/images/${index}`
      if (files.exists(copy)) back.images.push({ path, copy })
      else if (files.exists(path)) back.images.push({ path, copy: null })
    }
    back.commands = commandsNow(entry.plan).flatMap(({ unseen, inverse }) => (unseen ? [inverse] : []))
  }
  for (const change of [...entry.plan.changes].reverse()) {
    if (change.kind === 'driver') back.changes.push({ ...change, before: change.after, after: change.before })
    if (change.kind !== 'file') continue
    const now = read(change.path)
    if (now === change.before) continue
    const ours = entry.plan.settings.filter((one) => one.path === change.path && !hasSetting(change.before, one))
    const after = now === change.after ? change.before : ours.reduce(removeSetting, now)
    const reason = now === change.after ? 'as it was before' : 'changed since: without our settings'
    if (after !== now) back.changes.push({ ...change, before: now, after, reason })
    if (now !== change.after) back.foreign.push(change.path)
  }
  return back
}

/** Returns notes and changes for runs that were cut short, which the next run that applies anything takes back. */
export function cutShortRuns(files: Reader, journal: readonly JournalRecord[]): { notes: string[]; changes: Change[] } {
  const broken = journal.filter(({ state }) => state === 'broken').reverse()
  const backs = broken.map((recorded) => ({ recorded, back: planRollback(files, recorded) }))
  return {
    notes: backs.flatMap(({ recorded: { entry }, back }) => [
      `A run of ${entry.script} of ${entry.time} was cut short; with --apply it is taken back first.`,
      ...back.images.map(({ path, copy }) => `${path} ${copy === null ? 'goes' : 'is put back from its copy'}.`),
      ...back.commands.map((argv) => `Then: ${argv.join(' ')}.`),
    ]),
    changes: backs.flatMap(({ back }) => back.changes),
  }
}
