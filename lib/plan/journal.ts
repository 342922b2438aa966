import { UserError } from '../cli/error.ts'
import type { Reader } from '../host/reader.ts'
import type { Plan } from './plan.ts'
import type { Content } from './setting.ts'
import { type Setting, settingKey } from './setting.ts'

/** Where journals lie, below the root. */
export const JOURNAL = '/var/lib/vfio-scripts'
/** The same for live changes, which end with the boot. */
export const LIVE_JOURNAL = '/run/vfio-scripts'

/** A function as it was when it was bound: how it is known again after it moved. */
export interface BoundFunction {
  address: string
  vendor: string
  device: string
  subsystem: string | null
  driver: string | null
  /** Where equal functions were then: they are not this one, moved. */
  twins: string[]
}

/** What one run of a script did: the plan itself and what undoing it needs. Kept as `entry.json`. */
export interface Entry {
  schema: 'vfio-scripts/journal/1'
  /** The script that did it, and for which devices. */
  script: string
  functions: BoundFunction[]
  /** UTC, ISO 8601. */
  time: string
  /** /proc/sys/kernel/random/boot_id: has the machine been booted since? `null` for another root. */
  boot: string | null
  plan: Plan
  /** The adapters that made the commands. */
  adapters: { bootloader: string | null; initramfs: string | null }
  /** Of an undo: the entries that it took back, and for which devices. */
  undoes: number[]
  undone: string[]
  /** Folders that were made for the files. */
  folders: string[]
  /** Of an undo: folders that were made for what it takes back, and go if they are empty. */
  emptied: string[]
  /** Were the commands left to the person (`--no-commands`, or no way to run them)? */
  printed: boolean
}

export interface Recorded {
  number: number
  /** Its folder, below the root. */
  folder: string
  entry: Entry
  /** `done`: all of it happened. `broken`: the run was cut short. `undone`: taken back by undo.sh. */
  state: 'done' | 'broken' | 'undone'
  /** How long each command took, in seconds. */
  seconds: Record<string, number>
}

/**
 * The entries, oldest first. Throws a UserError with code `journal` when one cannot be understood, `denied` to anybody
 * but root.
 */
export function readJournal(files: Reader, journal = JOURNAL): Recorded[] {
  const entries: Recorded[] = []
  for (const name of files.list(journal) ?? []) {
    if (!/^\d{4,}$/.test(name)) continue
    const folder = `${journal}/${name}`
    const entry = parse(`${folder}/entry.json`, files.bytes(`${folder}/entry.json`)?.toString('utf8'))
    const done = files.bytes(`${folder}/done`)?.toString('utf8')
    const state = files.exists(`${folder}/undone`) ? 'undone' : done === undefined ? 'broken' : 'done'
    entries.push({ number: Number(name), folder, entry, state, seconds: done ? JSON.parse(done) : {} })
  }
  return entries.sort((one, other) => one.number - other.number)
}

/** What the next entry is going to be called. */
export function nextNumber(journal: readonly Recorded[]): number {
  return Math.max(0, ...journal.map(({ number }) => number)) + 1
}

function parse(path: string, text: string | undefined): Entry {
  try {
    const entry = JSON.parse(text ?? '') as Entry
    if (entry.schema === 'vfio-scripts/journal/1') return entry
  } catch {
    // Said below.
  }
  throw new UserError('journal', `${path}: not a journal that this version can read; keep it, and look at its undo.sh`)
}

/** What a person has to know of runs that were cut short; the next one that applies anything takes them back. */
export function cutShort(journal: readonly Recorded[]): string[] {
  return journal
    .filter(({ state }) => state === 'broken')
    .map(({ entry }) => `A run of ${entry.script} of ${entry.time} was cut short; with --apply it is taken back first.`)
}

/** One setting that one device needs, as an entry put it there. A setting stays while anybody claims it. */
export interface Claim {
  /** `settingKey` of the setting. */
  key: string
  setting: Setting
  /** A device's address, or `host`. */
  device: string
  entry: Recorded
}

/** What is in force: the claims of all entries that are done, less those that were taken back. */
export function claimsOf(journal: readonly Recorded[]): Claim[] {
  let claims: Claim[] = []
  for (const recorded of journal) {
    const { undoes, undone, plan } = recorded.entry
    if (recorded.state !== 'done') continue
    claims = claims.filter(({ entry, device }) => !undoes.includes(entry.number) || !undone.includes(device))
    for (const setting of plan.settings)
      for (const device of setting.devices) claims.push({ key: settingKey(setting), setting, device, entry: recorded })
  }
  return claims
}

/**
 * What a file was before we first touched it: `before`, while it is still as we left it (`last`). `undefined` when we
 * never wrote it, or somebody changed it between two of our runs: then a before-image would lose that.
 */
export function historyOf(journal: readonly Recorded[], path: string): { before: Content; last: Content } | undefined {
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
