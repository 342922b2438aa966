import { UserError } from '../core/error.ts'
import { type Change, expectNotPackaged, type Plan } from './plan.ts'
import { isSetting } from './settings.ts'

/** Where journals lie, below the root. */
export const JOURNAL = '/var/lib/vfio-scripts'
/** The same for live changes, which end with the boot. */
export const LIVE_JOURNAL = '/run/vfio-scripts'

const SCHEMA = 'vfio-scripts/journal/1'

/** What a setting is for: devices that guests own, or the host. All scripts of a kind own what any of them set up. */
export type ClaimKind = 'binding' | 'tuning'

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
export interface JournalEntry {
  schema: typeof SCHEMA
  /** The script that did it, what for, and for which devices. */
  script: string
  kind: ClaimKind
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

/** What applying a plan needs to know beside the plan. */
export type EntryFacts = Omit<JournalEntry, 'schema' | 'folders' | 'printed'>

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

/** Absolute and normal. */
const isNormalPath: ValueCheck = (value) => {
  if (typeof value !== 'string' || !value.startsWith('/') || value.includes('\0')) return false
  return !value
    .slice(1)
    .split('/')
    .some((name) => name === '' || name === '.' || name === '..')
}

/** As `isPlace`, and nothing that the packages of the system brought. */
const isWritablePath: ValueCheck = (value) => {
  try {
    if (isNormalPath(value)) expectNotPackaged(value as string)
    return isNormalPath(value)
  } catch {
    return false
  }
}

/** As a person's configuration names an image. */
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
  command: objectOf({ argv: isArgv, inverse: isArgv, touches: listOf(isImage), reason: isText }),
  driver: objectOf({ address: ADDRESS, before: DRIVER, after: DRIVER, reason: isText }),
}

/** Live changes are of drivers alone; a journal that outlives the boot, or comes from another root, has none. */
const isChange =
  (live: boolean): ValueCheck =>
  (value) => {
    const { kind } = (value ?? {}) as Change
    return Object.hasOwn(CHANGES, kind) && (kind !== 'driver' || live) && CHANGES[kind](value)
  }

/** What a program keeps has no path. */
const isPlanned: ValueCheck = (value) =>
  isSetting(value) && (value.kind === 'external' ? value.path === '' : isWritablePath(value.path))

const isEntry = (live: boolean): ValueCheck =>
  objectOf({
    schema: (value) => value === SCHEMA,
    script: matches(/^[a-z-]+$/),
    kind: matches(/^(binding|tuning)$/),
    functions: listOf(
      objectOf({
        address: ADDRESS,
        vendor: isHexId,
        device: isHexId,
        subsystem: orNull(isText),
        driver: DRIVER,
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
    folders: listOf(isNormalPath),
    emptied: listOf(isNormalPath),
    printed: (value) => typeof value === 'boolean',
  })

/**
 * The entry that a text of `entry.json` holds: shape and content are those that this toolkit writes, whoever wrote it.
 * `live`: of the running system's own journal of live changes. Throws a UserError with code `journal`.
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

/** The seconds that each command took, from the text of `done`. Throws a UserError with code `journal`. */
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
