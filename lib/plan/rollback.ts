import { UserError } from '../cli/error.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/rooted.ts'
import type { Way } from './command.ts'
import { giveTo } from './driver.ts'
import { type Entry, readJournal } from './journal.ts'
import type { CommandChange, Plan } from './plan.ts'
import { hasSetting, removeSetting } from './setting.ts'
import { contentReader } from './undo.ts'
import { besideOf, discard, makeFolder, putBack, removeFolder, removeTree, replaceFile } from './write.ts'

/** Where a plan is applied, and how that is told. */
export interface Target {
  /** The root of the system that is changed. */
  root: string
  /** `/var/lib/vfio-scripts`, or that of live changes. */
  journal: string
  way: Way
  say: (message: string) => void
  /** Called when a command starts; what it gives is called when that ends. */
  watch: (title: string) => () => void
  /** Hears what commands print. */
  hear?: (text: string) => void
  /** Aborted when the person wants it to stop: everything goes back. */
  signal: AbortSignal
}

/** Takes back what was cut short; clears away what was never complete. */
export async function recover(target: Target): Promise<void> {
  for (const name of present(target).list(target.journal) ?? []) {
    if (/^\d{4,}(~|\.\d+)$/.test(name)) removeTree(at(target, `${target.journal}/${name}`))
  }
  for (const recorded of readJournal(present(target), target.journal).reverse()) {
    if (recorded.state === 'broken') {
      target.say(`a run of ${recorded.entry.script} of ${recorded.entry.time} was cut short: it is taken back first`)
      await rollBack(target, recorded.folder, recorded.entry)
    }
    removeImages(target, recorded.folder)
  }
}

export function removeImages(target: Target, folder: string): void {
  if (present(target).exists(`${folder}/images`)) removeTree(at(target, `${folder}/images`))
}

/**
 * Puts everything back that an entry changed: images from their copies, files that are still as it left them; what
 * somebody else changed meanwhile loses our settings. Goes on after a failure, and then throws a UserError with code
 * `rollback-failed` and keeps the entry.
 */
export async function rollBack(target: Target, folder: string, entry: Entry): Promise<void> {
  const { changes } = entry.plan
  const files = present(target)
  const read = contentReader(files)
  const touched = touchedBy(commandsOf(entry.plan))
  const failures: string[] = []
  const attempt = async (work: () => unknown): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      failures.push(error.message)
    }
  }
  // Images are copied before the first file is written: without the mark no command ran.
  if (files.exists(`${folder}/images/complete`)) {
    for (const [index, path] of touched.entries()) {
      const copy = `${folder}/images/${index}`
      if (files.exists(copy)) await attempt(() => putBack(at(target, copy), at(target, path)))
      else if (files.exists(path)) await attempt(() => replaceFile(at(target, path), null, 0))
    }
  }
  for (const path of entry.emptied) await attempt(() => makeFolder(at(target, path)))
  for (const change of [...changes].reverse()) {
    if (change.kind === 'driver') await attempt(() => giveTo(change.address, change.before))
    if (change.kind !== 'file') continue
    discard(besideOf(at(target, change.path)))
    const now = read(change.path)
    if (now === change.before) continue
    const ours = entry.plan.settings.filter((one) => one.path === change.path && !hasSetting(change.before, one))
    const then = now === change.after ? change.before : ours.reduce(removeSetting, now)
    if (then !== now) await attempt(() => replaceFile(at(target, change.path), then, change.mode))
    if (now !== change.after)
      target.say(`${change.path}: changed by somebody else meanwhile; only our settings are taken out of it`)
  }
  if (failures.length > 0) throw new UserError('rollback-failed', failures.join('; '))
  for (const path of [...entry.folders].reverse()) removeFolder(at(target, path))
  removeTree(at(target, folder))
}

/** The generated files that commands may write. */
export function touchedBy(commands: readonly CommandChange[]): string[] {
  return [...new Set(commands.flatMap(({ touches }) => touches))]
}

export function commandsOf({ changes }: Plan): CommandChange[] {
  return changes.filter((change): change is CommandChange => change.kind === 'command')
}

/** The system as it is now: a reader remembers where paths lead. */
export function present({ root }: Target): Reader {
  return openReader(root)
}

/** The folders on the way to `folder` that are not there, the outermost first. */
export function missingFolders(files: Reader, folder: string): string[] {
  return files.exists(folder) || folder === '/' ? [] : [...missingFolders(files, parentOf(folder)), folder]
}

export function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

/** A path of the system as a path of this process: links resolved below the root, so that nothing else is written. */
export function at(target: Target, path: string): string {
  const files = present(target)
  const folder = files.resolve(parentOf(path)) ?? parentOf(path)
  const real = files.resolve(path) ?? (folder === '/' ? '' : folder) + path.slice(path.lastIndexOf('/'))
  return target.root === '/' ? real : target.root + real
}
