import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/sysroot.ts'
import { shownPath } from './beneath.ts'
import { changeDriver } from './driver.ts'
import { readJournal } from './journal.ts'
import type { JournalEntry } from './journal-entry.ts'
import type { Change } from './plan.ts'
import { type CommandMode, type CommandResult, runCommand } from './run.ts'
import { planRollback } from './undo.ts'
import { makeFolder, removeBeside, removeFolder, removeTree, replaceFile, restoreFile } from './write.ts'
import { writeThrough } from './write-through.ts'

/** The system that a plan is applied to, and the functions that report the progress. */
export interface ApplyTarget {
  /** The root of the system that is changed. */
  root: string
  /** The folder of the journal: `JOURNAL` or `LIVE_JOURNAL`. */
  journal: string
  commandMode: CommandMode
  notify: (message: string) => void
  /** Is called when a command starts; the function that it returns is called when the command ends. */
  onStart: (title: string) => () => void
  /** Shows changes that are about to be made beside the plan. */
  showChanges: (changes: readonly Change[]) => void
  /** Is called with the text that commands print. */
  onOutput?: (text: string) => void
  /** The signal that is aborted when the person wants to stop: everything is put back. */
  signal: AbortSignal
}

/**
 * Takes back the runs that were cut short, and shows the changes before; removes journal folders that were never
 * complete. Throws a UserError: those of `readJournal` and `rollBack`.
 */
export async function recover(target: ApplyTarget): Promise<void> {
  const { root, journal } = target
  for (const name of openTarget(target).list(journal) ?? []) {
    if (/^\d{4,}(~|\.\d+)$/.test(name)) removeTree(root, `${journal}/${name}`)
  }
  for (const recorded of readJournal(openTarget(target), journal).reverse()) {
    if (recorded.state === 'broken') {
      target.notify(`a run of ${recorded.entry.script} of ${recorded.entry.time} was cut short: it is taken back first`)
      target.showChanges(planRollback(openTarget(target), recorded).changes)
      await rollBack(target, recorded.folder, recorded.entry).catch((error) => {
        if (!(error instanceof UserError)) throw error
        const folder = shownPath(root, recorded.folder)
        throw new UserError(
          error.code,
          `${error.message}; when the cause is gone, run this again, or move ${folder} to another place`,
        )
      })
    }
    removeImages(target, recorded.folder)
  }
}

/** Removes an entry's copies of images, which nothing needs any more. What cannot be removed, the next run removes. */
export function removeImages(target: ApplyTarget, folder: string): void {
  if (openTarget(target).exists(`${folder}/images`)) tidy(target, `${folder}/images`)
}

function tidy(target: ApplyTarget, path: string): void {
  try {
    removeTree(target.root, path)
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    target.notify(`${error.message}: it is of no use any more, and the next run removes it`)
  }
}

/**
 * Puts back everything that an entry changed: images from their copies, and files that are still as it left them; from
 * a file that somebody else changed meanwhile, only our settings are taken out. It goes on after a failure, keeps the
 * entry then, and throws a UserError with code `rollback-failed` at the end.
 */
export async function rollBack(target: ApplyTarget, folder: string, entry: JournalEntry): Promise<void> {
  const { root } = target
  const { changes, images, commands, foreign } = planRollback(openTarget(target), { folder, entry })
  const failures: string[] = []
  const attempt = async (work: () => unknown): Promise<void> => {
    try {
      await work()
    } catch (error) {
      if (!(error instanceof UserError)) throw error
      failures.push(error.message)
    }
  }
  for (const { path, copy } of images)
    await attempt(() => (copy === null ? replaceFile(root, path, null, 0) : restoreFile(root, copy, path)))
  for (const path of entry.emptied) await attempt(() => makeFolder(root, path))
  for (const change of entry.plan.changes) if (change.kind === 'file') removeBeside(root, change.path)
  for (const change of changes)
    await attempt(() =>
      change.kind === 'driver'
        ? changeDriver(change.address, change.after)
        : replaceFile(root, change.path, change.after, change.mode),
    )
  for (const path of foreign)
    target.notify(`${path}: changed by somebody else meanwhile; only our settings are taken out of it`)
  if (images.length > 0)
    await attempt(() =>
      writeThrough(
        root,
        openTarget(target),
        images.map(({ path }) => path),
      ),
    )
  for (const argv of target.commandMode === 'print' ? [] : commands)
    await attempt(async () => {
      const { code, output } = await runIn(target, argv)
      if (code !== 0) throw new UserError('rollback-failed', `${argv.join(' ')}: ${output.trim().split('\n').at(-1)}`)
    })
  if (failures.length > 0) throw new UserError('rollback-failed', failures.join('; '))
  for (const path of [...entry.folders].reverse()) removeFolder(root, path)
  tidy(target, folder)
}

/** Runs a command of a plan in the system that is changed; the person is told. */
export function runIn(target: ApplyTarget, argv: readonly string[], signal?: AbortSignal): Promise<CommandResult> {
  const { onOutput } = target
  const end = target.onStart(argv.join(' '))
  return runCommand(argv, {
    root: target.commandMode === 'chroot' ? target.root : '/',
    ...(signal === undefined ? {} : { signal }),
    ...(onOutput === undefined ? {} : { onOutput }),
  }).finally(end)
}

/** Opens a new reader on the system as it is now: an older reader remembers where paths led. */
export function openTarget({ root }: ApplyTarget): Reader {
  return openReader(root)
}

/** Returns the folders on the way to `folder`, and itself, that do not exist, the outermost first. */
export function missingFolders(files: Reader, folder: string): string[] {
  return files.exists(folder) || folder === '/' ? [] : [...missingFolders(files, parentFolder(folder)), folder]
}

/** Returns the path of the folder that a path lies in. */
export function parentFolder(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}
