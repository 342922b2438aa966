import { UserError } from '../core/error.ts'
import { addSetting, type Content, type PlannedSetting, removeSetting, type Setting } from './settings.ts'

/** A file that is written whole, or removed. */
export interface FileChange {
  kind: 'file'
  /** The path without symbolic links, as seen from the root. */
  path: string
  before: Content
  after: Content
  /** The permissions of a new file; an existing one keeps its own. */
  mode: number
  reason: string
}

/** A program to run that makes files from other files, such as an initramfs or grub.cfg. */
export interface CommandChange {
  kind: 'command'
  argv: readonly string[]
  /** The command that takes its effect back after the files are restored; for most generators the same one. */
  inverse: readonly string[]
  /** The files that it may write: they are copied before it runs, and put back when it fails. */
  touches: readonly string[]
  /**
   * Set where nothing that it makes can be looked at or copied: what it says that it skipped counts as not made, and
   * `inverse` takes back what it made when a later step fails.
   */
  unseen?: true
  /** Set where the run only says that it is owed: the next run makes the boot files, once (lib/change/owed.ts). */
  later?: true
  reason: string
}

/** A PCI function that gets another driver now, without a boot. */
export interface DriverChange {
  kind: 'driver'
  address: string
  /** `null`: no driver. */
  before: string | null
  after: string | null
  reason: string
}

export type Change = FileChange | CommandChange | DriverChange

/** The changes to make, with their reasons. Exactly what is shown is applied: applying computes nothing. */
export interface Plan {
  /** Files first, then commands, in the order in which they are applied. */
  changes: Change[]
  /** The settings that the files gain, for a later undo and `--status`. */
  settings: PlannedSetting[]
  /** Sentences for the person: what was decided and why, and what is left to do. */
  notes: string[]
  /** Does any of it take effect with the next boot only? */
  rebootNeeded: boolean
}

/** Throws a UserError with code `not-ours` for a file that the packages of the system brought. */
export function expectNotPackaged(path: string): void {
  // A new file of our own in a folder of such files (dracut's modules) takes nothing from a package.
  const own = /\/\d*vfio-scripts(\/|$)/.test(path)
  if (/^\/(usr|nix\/store)\//.test(path) && !own)
    throw new UserError('not-ours', `${path}: belongs to the packages of this system and is not changed`)
}

/** Returns each command once, where several are the same: one may make both an image and its command line. */
export function onceEach(commands: readonly CommandChange[]): CommandChange[] {
  const keys = commands.map(({ argv }) => JSON.stringify(argv))
  return commands.filter((_, index) => keys.indexOf(keys[index] ?? '') === index)
}

/**
 * Returns the changes that `edit` makes for the settings, one for each file that differs, in the order in which files
 * are first named. Throws a UserError with code `not-ours` (`expectNotPackaged`).
 */
export function changesFor(
  settings: readonly Setting[],
  read: (path: string) => Content,
  edit: (content: Content, setting: Setting) => Content,
): FileChange[] {
  const changes = new Map<string, FileChange>()
  for (const setting of settings) {
    if (setting.kind === 'external') continue
    const { path, mode = 0o644, reason } = setting
    let change = changes.get(path)
    if (change === undefined) {
      expectNotPackaged(path)
      const before = read(path)
      change = { kind: 'file', path, before, after: before, mode, reason }
      changes.set(path, change)
    }
    change.after = edit(change.after, setting)
  }
  return [...changes.values()].filter(({ before, after }) => before !== after)
}

/** Returns the paths of the generated files that commands may write. */
export function touchedFiles(commands: readonly CommandChange[]): string[] {
  return [...new Set(commands.flatMap(({ touches }) => touches))]
}

/** Returns the commands that the run of a plan itself runs, or prints, in their order. */
export function commandsNow(plan: Plan): CommandChange[] {
  return commandsOf(plan).filter(({ later }) => later !== true)
}

/** Returns all commands of a plan, in their order. */
export function commandsOf({ changes }: Plan): CommandChange[] {
  return changes.filter((change): change is CommandChange => change.kind === 'command')
}

/** Returns the changes, one a file, that remove the settings `leaving` and add `settings`. Throws as `changesFor`. */
export function changesReplacing(
  leaving: readonly Setting[],
  settings: readonly Setting[],
  read: (path: string) => Content,
): FileChange[] {
  const gone = leaving.map((setting) => {
    const heir = settings.find(({ path }) => path === setting.path)
    return { ...setting, reason: heir?.reason ?? 'another value takes its place' }
  })
  return changesFor([...gone, ...settings], read, (content, setting) =>
    (gone as readonly Setting[]).includes(setting) ? removeSetting(content, setting) : addSetting(content, setting),
  )
}
