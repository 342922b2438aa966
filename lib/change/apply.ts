import { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import type { Reader, TreeEntry } from '../host/reader.ts'
import { shownPath } from './beneath.ts'
import { isConfirmFile } from './confirm.ts'
import { changeDriver } from './driver.ts'
import { nextNumber, readJournal } from './journal.ts'
import { type EntryFacts, type JournalEntry, LIVE_JOURNAL, newEntry, parseEntry } from './journal-entry.ts'
import {
  type CommandChange,
  commandsNow,
  commandsOf,
  expectNotPackaged,
  type FileChange,
  touchedFiles,
} from './plan.ts'
import {
  type ApplyTarget,
  missingFolders,
  openTarget,
  parentFolder,
  removeImages,
  rollBack,
  runIn,
} from './rollback.ts'
import type { CommandResult } from './run.ts'
import type { Content } from './settings.ts'
import { contentReader } from './undo.ts'
import { type UndoFile, undoScript } from './undo-script.ts'
import { incompleteLines, skippedLines, warningNotes } from './warnings.ts'
import { copyFile, makeFolder, removeFolder, replaceFile } from './write.ts'
import { writeThrough } from './write-through.ts'
import { writeTree } from './write-tree.ts'

/**
 * Applies a plan: writes the journal entry, then the files, runs the commands, and calls `verify`, which returns what
 * is not as promised. After any failure it puts everything back, and the error says so. The caller holds the lock.
 * Throws a UserError: `changed` (a file is no longer what the plan saw), `no-space`, `unwritable`, `command-failed`,
 * `verify-failed`, `interrupted`, those of `changeDriver`; `rollback-failed` when taking back failed as well.
 */
export async function applyPlan(
  target: ApplyTarget,
  facts: EntryFacts,
  verify: () => Promise<string[]>,
): Promise<{ entry: JournalEntry; printed: string[][] }> {
  const { root } = target
  const files = openTarget(target)
  const { changes } = facts.plan
  const commands = commandsNow(facts.plan)
  const read = contentReader(files)
  for (const change of changes) if (change.kind === 'file') expectUnchanged(files, change, read(change.path))
  const folders = changes.flatMap((change) =>
    change.kind === 'file' && change.after !== null ? missingFolders(files, parentFolder(change.path)) : [],
  )
  const entry = newEntry(
    { ...facts, emptied: facts.emptied.filter((path) => files.exists(path)) },
    [...new Set(folders)],
    target.commandMode === 'print' && commands.length > 0,
  )
  const number = nextNumber(readJournal(files, target.journal))
  const folder = `${target.journal}/${String(number).padStart(4, '0')}`
  const running = target.commandMode === 'print' ? [] : commands
  checkSpace(target, running)
  writeTree(root, folder, await journalTree(entry, target.journal === LIVE_JOURNAL), true)
  const seconds: Record<string, number> = {}
  try {
    await copyImages(target, folder, running)
    for (const path of entry.folders) makeFolder(root, path)
    for (const change of changes) {
      target.signal.throwIfAborted()
      if (change.kind === 'file') {
        expectUnchanged(openTarget(target), change, read(change.path))
        await replaceFile(root, change.path, change.after, change.mode)
      } else if (change.kind === 'driver') await changeDriver(change.address, change.after)
    }
    for (const command of running) seconds[command.argv.join(' ')] = (await runStep(target, command)).seconds
    const wrong = target.commandMode === 'print' ? [] : await verify()
    if (wrong.length > 0) throw new UserError('verify-failed', `not as planned: ${wrong.join('; ')}`)
    for (const path of [...entry.emptied].reverse()) removeFolder(root, path)
    if (running.length > 0) await writeThrough(root, openTarget(target), touchedFiles(running))
    await replaceFile(root, `${folder}/done`, `${JSON.stringify(seconds)}\n`, 0o644)
  } catch (error) {
    throw await rollBackAfter(target, folder, entry, error)
  }
  removeImages(target, folder)
  return { entry, printed: target.commandMode === 'print' ? commands.map(({ argv }) => [...argv]) : [] }
}

async function rollBackAfter(
  target: ApplyTarget,
  folder: string,
  entry: JournalEntry,
  error: unknown,
): Promise<unknown> {
  const known = target.signal.aborted ? new UserError('interrupted', 'interrupted') : error
  const journal = shownPath(target.root, folder)
  try {
    // `done` exists if only its sync failed. It goes first: without it, the next run takes back whatever is left now.
    await replaceFile(target.root, `${folder}/done`, null, 0).catch(() => undefined)
    await rollBack(target, folder, entry)
  } catch (second) {
    const messages = [known, second].map((one) => (one instanceof Error ? one.message : String(one)))
    const next = `when the cause is gone, run this again, or: sh ${journal}/undo.sh`
    return new UserError('rollback-failed', `${messages.join('; and it could not all be taken back: ')}; ${next}`)
  }
  if (!(known instanceof UserError)) return known
  return new UserError(known.code, `${known.message}; nothing is changed: everything was put back`)
}

async function runStep(target: ApplyTarget, { argv, unseen }: CommandChange): Promise<CommandResult> {
  target.signal.throwIfAborted()
  const { signal } = target
  const ran = await runIn(target, argv, signal)
  signal.throwIfAborted()
  if (ran.code !== 0) {
    const last = ran.output.trim().split('\n').slice(-5).join(' | ')
    const how = ran.code === null ? 'could not be run' : `ended with ${ran.code}`
    throw new UserError('command-failed', `${argv.join(' ')} ${how}: ${last}`)
  }
  const skipped = [...(unseen ? skippedLines(ran.output) : []), ...incompleteLines(ran.output)]
  if (skipped.length > 0)
    throw new UserError('command-failed', `${argv.join(' ')} did not do all of its work: ${skipped.join(' | ')}`)
  for (const note of warningNotes(argv.join(' '), ran.output)) target.notify(note)
  return ran
}

function expectUnchanged(files: Reader, change: FileChange, now: Content): void {
  expectNotPackaged(files.resolve(change.path) ?? change.path)
  if (now !== change.before)
    throw new UserError('changed', `${change.path}: changed while the plan was made; look at the new plan`)
}

async function journalTree(entry: JournalEntry, live: boolean): Promise<Map<string, TreeEntry>> {
  // Loaded only here: it costs every plan four milliseconds.
  const { createHash } = await import('node:crypto')
  const tree = new Map<string, TreeEntry>()
  const hash = (content: Content): string | null =>
    content === null ? null : createHash('sha256').update(content, 'latin1').digest('hex')
  const files = entry.plan.changes.filter((change): change is FileChange => change.kind === 'file')
  const listed = files.map(({ path, before, after, mode }, index): UndoFile => {
    const image = before === null ? null : `before/${index}`
    if (before !== null) tree.set(`/${image}`, { file: Buffer.from(before, 'latin1') })
    return { path, savedAs: image, before: hash(before), after: hash(after), mode }
  })
  const commands = commandsOf(entry.plan)
  const inverses = [...new Map(commands.map(({ inverse }) => [JSON.stringify(inverse), inverse])).values()]
  const touched = touchedFiles(commandsNow(entry.plan))
  // An undo of what was not in force yet needs no reboot, and to take that back does.
  const rebootNeeded = entry.plan.rebootNeeded || entry.undone.length > 0
  const about = `${entry.script} ${entry.functions.map(({ address }) => address).join(' ')}, ${entry.time}`
  tree.set('/undo.sh', {
    file: Buffer.from(undoScript(about, listed, entry, inverses, touched, isConfirmFile, rebootNeeded)),
  })
  const text = `${JSON.stringify(entry, null, 1)}\n`
  // An entry that the next run could not read would stop every later run.
  parseEntry('the new entry', text, live)
  tree.set('/entry.json', { file: Buffer.from(text) })
  return tree
}

async function copyImages(target: ApplyTarget, folder: string, commands: readonly CommandChange[]): Promise<void> {
  if (commands.length === 0) return
  const files = openTarget(target)
  const images = `${folder}/images`
  makeFolder(target.root, images, 0o700)
  for (const [index, path] of touchedFiles(commands).entries()) {
    target.signal.throwIfAborted()
    if (files.exists(path)) await copyFile(target.root, path, `${images}/${index}`)
  }
  await replaceFile(target.root, `${images}/complete`, '', 0o644)
}

/** Checks the space for the copies, and for the largest image in its folder: generators write it beside the old one. */
function checkSpace(target: ApplyTarget, commands: readonly CommandChange[]): void {
  const files = openTarget(target)
  const sizes = touchedFiles(commands).map((path) => ({ path, size: files.size(path) ?? 0 }))
  const largest = sizes.reduce((most, one) => (one.size > most.size ? one : most), { path: '', size: 0 })
  const required = [
    { path: parentFolder(target.journal), size: sizes.reduce((sum, { size }) => sum + size, 0) },
    { path: parentFolder(largest.path), size: Math.ceil(largest.size * 1.2) },
  ]
  for (const { path, size } of required) {
    const free = size === 0 ? undefined : files.freeSpace(path)
    if (free !== undefined && free < size) {
      const mib = (bytes: number): number => Math.ceil(bytes / 2 ** 20)
      throw new UserError(
        'no-space',
        `${path}: ${mib(size)} MiB are needed, ${mib(free)} MiB are free; remove an old kernel`,
      )
    }
  }
}
