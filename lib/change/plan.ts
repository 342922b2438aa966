import { UserError } from '../core/error.ts'
import { addSetting, type Content, type PlannedSetting, removeSetting, type Setting } from './settings.ts'

/** Writes a file whole, or removes it. */
export interface FileChange {
  kind: 'file'
  /** Without symbolic links, as seen from the root. */
  path: string
  before: Content
  after: Content
  /** Permissions of a new file; an existing one keeps its own. */
  mode: number
  reason: string
}

/** Runs a program that makes files out of files: an initramfs, grub.cfg. */
export interface CommandChange {
  kind: 'command'
  argv: readonly string[]
  /** What takes its effect back once the files are as they were; most generators simply run again. */
  inverse: readonly string[]
  /** The files it may write: copied aside before, put back when it fails. */
  touches: readonly string[]
  reason: string
}

/** Gives a PCI function another driver, now, without a boot. */
export interface DriverChange {
  kind: 'driver'
  address: string
  /** `null`: no driver. */
  before: string | null
  after: string | null
  reason: string
}

export type Change = FileChange | CommandChange | DriverChange

/** What will change, and why. What is shown is exactly what is applied: applying computes nothing. */
export interface Plan {
  /** Files first, then commands, in the order in which they are applied. */
  changes: Change[]
  /** What the files gain, for a later undo and `--status`. */
  settings: PlannedSetting[]
  /** For the person: what was decided and why, what is left to do. */
  notes: string[]
  /** Does any of it take effect with the next boot only? */
  rebootNeeded: boolean
}

/** Throws a UserError with code `not-ours` for a file that the packages of the system brought. */
export function expectNotPackaged(path: string): void {
  // A new file of our own in a folder that a program reads them from (dracut's modules) takes nothing from a package.
  const own = /\/\d*vfio-scripts(\/|$)/.test(path)
  if (/^\/(usr|nix\/store)\//.test(path) && !own)
    throw new UserError('not-ours', `${path}: belongs to the packages of this system and is not changed`)
}

/** Of commands that are the same (one that makes an image with its command line), the first. */
export function onceEach(commands: readonly CommandChange[]): CommandChange[] {
  const keys = commands.map(({ argv }) => JSON.stringify(argv))
  return commands.filter((_, index) => keys.indexOf(keys[index] ?? '') === index)
}

/** The file changes that `edit` makes of the settings, a file each, in the order in which files are first named. */
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

/** The generated files that commands may write. */
export function touchedFiles(commands: readonly CommandChange[]): string[] {
  return [...new Set(commands.flatMap(({ touches }) => touches))]
}

export function commandsOf({ changes }: Plan): CommandChange[] {
  return changes.filter((change): change is CommandChange => change.kind === 'command')
}

/** The file changes of settings that come, and of others of ours that go for them, each file in one change. */
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
