import { UserError } from '../core/error.ts'
import { type Change, expectNotPackaged, type Plan } from './plan.ts'
import { isSetting } from './settings.ts'

/** The folder of the journal, below the root. */
export const JOURNAL = '/var/lib/vfio-scripts'
/** The folder of the journal of live changes, which end with the boot. */
export const LIVE_JOURNAL = '/run/vfio-scripts'

const SCHEMA = 'vfio-scripts/journal/1'

/** The purpose of a setting: devices for guests, or the host. All scripts of a kind own what any of them set up. */
export type ClaimKind = 'binding' | 'tuning' | 'hand-over'

/** A function as it was when it was bound, by which it is recognized after it moved to another address. */
export interface BoundFunction {
  address: string
  vendor: string
  device: string
  subsystem: string | null
  driver: string | null
  /** The slot by which the whole card is named, where the function has another one. */
  card?: string
  /** The addresses that equal functions had then: this function did not move to one of them. */
  twins: string[]
}

/** The record of one run of a script: its plan, and the facts that an undo needs. It is kept as `entry.json`. */
export interface JournalEntry {
  schema: typeof SCHEMA
  /** The script that ran, the purpose, and the devices. */
  script: string
  kind: ClaimKind
  functions: BoundFunction[]
  /** The time of the run: UTC, ISO 8601. */
  time: string
  /** The boot ID of the run (/proc/sys/kernel/random/boot_id): another one means a boot since. `null`: another root. */
  boot: string | null
  plan: Plan
  /** The adapters that made the commands. */
  adapters: { bootloader: string | null; initramfs: string | null }
  /** In the entry of an undo: the numbers of the entries that it took back, and the owners for whom. */
  undoes: number[]
  undone: string[]
  /** The numbers of the entries whose boot files this run made, because their own runs left it to a later one. */
  made?: number[]
  /** Folders that were made for the files. */
  folders: string[]
  /** In the entry of an undo: the folders that the undone entries made; they are removed if they are empty. */
  emptied: string[]
  /** Were the commands left to the person (`--no-commands`, or no way to run them)? */
  printed: boolean
}

/** The part of an entry that the caller knows before the plan is applied. */
export type EntryFacts = Omit<JournalEntry, 'schema' | 'folders' | 'printed'>

/** Returns the entry of these facts, with the schema of this version. */
export function newEntry(facts: EntryFacts, folders: string[], printed: boolean): JournalEntry {
  return { schema: SCHEMA, ...facts, folders, printed }
}

type ValueCheck = (value: unknown) => boolean

const isText: ValueCheck = (value) => typeof value === 'string'
const isNumber: ValueCheck = (value) => typeof value === 'number' && Number.isFinite(value)
const matches =
  (pattern: RegExp): ValueCheck =>
  (value) =>
    typeof value === 'string' && pattern.test(value)
const orNull =
  (is: ValueCheck): ValueCheck =>
  (value) =>
    value === null || is(value)
const listOf =
  (is: ValueCheck): ValueCheck =>
  (value) =>
    Array.isArray(value) && value.every(is)
const objectOf =
  (fields: Readonly<Record<string, ValueCheck>>): ValueCheck =>
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(fields).every(([name, is]) => is((value as Record<string, unknown>)[name]))

/** Is it an absolute path in normal form: no empty name, no `.`, no `..`? */
const isNormalPath: ValueCheck = (value) => {
  if (typeof value !== 'string' || !value.startsWith('/') || value.includes('\0')) return false
  return !value
    .slice(1)
    .split('/')
    .some((name) => name === '' || name === '.' || name === '..')
}

/** Is it such a path, and no file that the packages of the system brought? */
const isWritablePath: ValueCheck = (value) => {
  try {
    if (isNormalPath(value)) expectNotPackaged(value as string)
    return isNormalPath(value)
  } catch {
    return false
  }
}

/** Is it the path of an image as a person's configuration may name it: absolute, without `..`? */
const isImage: ValueCheck = (value) => matches(/^\/[^\0]*$/)(value) && !`${value}/`.includes('/../')

const ADDRESS = matches(/^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-1][0-9a-f]\.[0-7]$/)
const isHexId = matches(/^[0-9a-f]{4}$/)
const DRIVER = orNull(matches(/^[\w-]+$/))
const isArgv: ValueCheck = (value) => listOf(isText)(value) && (value as string[]).length > 0

const CHANGES: { [K in Change['kind']]: ValueCheck } = {
  file: objectOf({
    path: isWritablePath,
    before: orNull(isText),
    after: orNull(isText),
    mode: isNumber,
    reason: isText,
  }),
  command: objectOf({
    argv: isArgv,
    inverse: isArgv,
    touches: listOf(isImage),
    unseen: (value) => value === undefined || value === true,
    later: (value) => value === undefined || value === true,
    reason: isText,
  }),
  driver: objectOf({ address: ADDRESS, before: DRIVER, after: DRIVER, reason: isText }),
}

/** Is it a change? A change of a driver may only be in a live journal: one that outlives the boot has none. */
const isChange =
  (live: boolean): ValueCheck =>
  (value) => {
    const { kind } = (value ?? {}) as Change
    return Object.hasOwn(CHANGES, kind) && (kind !== 'driver' || live) && CHANGES[kind](value)
  }

/** Is it a setting of a plan? A setting that a program keeps has an empty path. */
const isPlanned: ValueCheck = (value) =>
  isSetting(value) && (value.kind === 'external' ? value.path === '' : isWritablePath(value.path))

const isEntry = (live: boolean): ValueCheck =>
  objectOf({
    schema: (value) => value === SCHEMA,
    script: matches(/^[a-z-]+$/),
    kind: matches(/^(binding|tuning|hand-over)$/),
    functions: listOf(
      objectOf({
        address: ADDRESS,
        vendor: isHexId,
        device: isHexId,
        subsystem: orNull(isText),
        driver: DRIVER,
        card: (value) => value === undefined || isText(value),
        twins: listOf(ADDRESS),
      }),
    ),
    time: matches(/^[\dTZ:.-]+$/),
    boot: orNull(isText),
    plan: objectOf({
      changes: listOf(isChange(live)),
      settings: listOf(isPlanned),
      notes: listOf(isText),
      rebootNeeded: (value) => typeof value === 'boolean',
    }),
    adapters: objectOf({ bootloader: orNull(isText), initramfs: orNull(isText) }),
    undoes: listOf(isNumber),
    undone: listOf(isText),
    made: (value) => value === undefined || listOf(isNumber)(value),
    folders: listOf(isNormalPath),
    emptied: listOf(isNormalPath),
    printed: (value) => typeof value === 'boolean',
  })

/**
 * Returns the entry in a text of `entry.json`, after a check that its shape and content are what this toolkit writes.
 * `live`: it is from the running system's own journal of live changes. Throws a UserError with code `journal`.
 */
export function parseEntry(folder: string, text: string | undefined, live: boolean): JournalEntry {
  const value = parseJson(text)
  const { schema } = (value ?? {}) as { schema?: unknown }
  if (typeof schema === 'string' && /^vfio-scripts\/journal\/\d+$/.test(schema) && schema !== SCHEMA)
    throw new UserError(
      'journal',
      `${folder}: was written by another version of this toolkit (${schema}); use that one, or: sh ${folder}/undo.sh`,
    )
  if (!isEntry(live)(value)) throw damaged(folder, 'entry.json')
  return value as JournalEntry
}

/** Returns the seconds that each command took, from the text of `done`. Throws a UserError with code `journal`. */
export function parseDone(folder: string, text: string): Record<string, number> {
  const value = parseJson(text)
  if (typeof value !== 'object' || value === null || !Object.values(value).every(isNumber))
    throw damaged(folder, 'done')
  return value as Record<string, number>
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}

function damaged(folder: string, name: string): UserError {
  return new UserError(
    'journal',
    `${folder}/${name}: is damaged, or not written by this toolkit; look at ${folder}/undo.sh, move ${folder} to another place, then run this again`,
  )
}
