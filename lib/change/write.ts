import { Buffer } from 'node:buffer'
import type { Stats } from 'node:fs'
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { UserError } from '../core/error.ts'
import { beneathRoot, type HeldPath, shownPath } from './beneath.ts'
import { runCommand } from './run.ts'
import type { Content } from './settings.ts'

// Every function here takes a root and a path as seen from that root, and writes nothing outside it.

/** What a person is told of a failure to write. */
function unwritable(shown: string, error: unknown): UserError {
  if (error instanceof UserError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return new UserError('unwritable', `${shown}: cannot be written (${code ?? message})`)
}

/** Runs system calls that write; a UserError with code `unwritable` names the path and the errno. */
export function tryWriting<T>(shown: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw unwritable(shown, error)
  }
}

/** What is written there is on the disk when this returns. */
export function syncPath(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const statOf = (file: string): Stats | undefined => lstatSync(file, { throwIfNoEntry: false })

/** A file that is being written: beside its target, under a name that no program reads (.conf, .cfg, .d folders). */
const besideOf = ({ folder, name }: HeldPath): string => `${folder}/.${name}.vfio-scripts~`

/**
 * Gives a file its content, whole or not at all, whatever happens meanwhile; `null` removes it. A file that exists
 * keeps its mode, owner, ACL and extended attributes (cp(1) knows how; Node has no calls for them), a new one gets
 * `mode`. Throws a UserError with code `unwritable` or `outside`; then the file is as it was, or has its new content and
 * only what makes that durable failed.
 */
export async function replaceFile(root: string, path: string, content: Content, mode: number): Promise<void> {
  await replaceByRename(root, path, content !== null, async (beside, { file }) => {
    if (content === null) return unlinkSync(file)
    const exists = statOf(file) !== undefined
    if (exists) await copyWith(['--attributes-only'], file, beside)
    writeFileSync(beside, Buffer.from(content, 'latin1'), { flag: exists ? 'r+' : 'wx', mode: 0o600 })
    if (!exists) chmodSync(beside, mode)
  })
}

/** What `make` made beside a file gets the file's name, durably; of a failure nothing is left. */
async function replaceByRename(
  root: string,
  path: string,
  rename: boolean,
  make: (beside: string, held: HeldPath) => unknown,
): Promise<void> {
  try {
    await beneathRoot(root, path, async (held) => {
      const beside = besideOf(held)
      try {
        rmSync(beside, { force: true })
        await make(beside, held)
        if (rename) {
          syncPath(beside)
          renameSync(beside, held.file)
        }
        syncPath(held.folder)
      } catch (error) {
        removeHeld(beside)
        throw error
      }
    })
  } catch (error) {
    throw unwritable(shownPath(root, path), error)
  }
}

/** `from` and `to` are names in folders that this process holds open: no link leads anywhere else. */
async function copyWith(options: readonly string[], from: string, to: string): Promise<void> {
  const argv = ['cp', ...options, '--preserve=all', '--no-dereference', '--reflink=auto', '--', from, to]
  const { code, output } = await runCommand(argv, { root: '/' })
  if (code === 0) return
  const reason = output.trim().split('\n').at(-1)?.split(': ').at(-1)
  throw Object.assign(new Error(reason), { code: /No space left/.test(output) ? 'ENOSPC' : reason })
}

/** Copies a file with all its attributes to a new name, durably. */
export async function copyFile(root: string, from: string, to: string): Promise<void> {
  await replaceByRename(root, to, true, (beside) => beneathRoot(root, from, ({ file }) => copyWith([], file, beside)))
}

/**
 * Puts a copy back in the place of a file, whole or not at all; in a full file system the damaged one makes room. A
 * file that has the copy's size and time was not written since.
 */
export async function restoreFile(root: string, copy: string, path: string): Promise<void> {
  await beneathRoot(root, copy, async ({ file: source }) => {
    const was = statOf(source)
    const same = beneathRoot(root, path, (held) => {
      const now = statOf(held.file)
      if (now === undefined || now.size !== was?.size || now.mtimeMs !== was.mtimeMs) return false
      removeHeld(besideOf(held))
      return true
    })
    if (same) return
    await replaceByRename(root, path, true, async (beside, { file }) => {
      await copyWith([], source, beside).catch(async (error) => {
        if (error.code !== 'ENOSPC') throw error
        rmSync(file, { force: true })
        await copyWith([], source, beside)
      })
    })
  })
}

/** Makes a folder with these permissions, whatever the umask. Its parent exists. */
export function makeFolder(root: string, path: string, mode = 0o755): void {
  tryWriting(shownPath(root, path), () =>
    beneathRoot(root, path, ({ folder, file }) => {
      if (statOf(file) === undefined) {
        mkdirSync(file, { mode })
        chmodSync(file, mode)
      }
      syncPath(folder)
    }),
  )
}

/** Removes a folder that we made, if nobody put anything else into it. */
export function removeFolder(root: string, path: string): void {
  try {
    beneathRoot(root, path, ({ file }) => rmdirSync(file))
  } catch {
    // Not empty: it is somebody else's too by now. Or gone.
  }
}

/** Removes a folder with all that is in it; its name goes first, so that half of it is never taken for the whole. */
export function removeTree(root: string, path: string): void {
  tryWriting(shownPath(root, path), () =>
    beneathRoot(root, path, ({ folder, file }) => {
      const leaving = file.endsWith('~') ? file : `${file}~`
      if (file !== leaving) renameSync(file, leaving)
      syncPath(folder)
      rmSync(leaving, { recursive: true, force: true })
    }),
  )
}

/**
 * Opens the file that is locked by its descriptor, and makes it if need be. flock(2) locks what is open, so programs
 * that inherit the descriptor hold the lock as well, until the last of them ends.
 */
export function openLock(root: string, path: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  return tryWriting(shownPath(root, path), () => beneathRoot(root, path, ({ file }) => openSync(file, flags, 0o600)))
}

/** Is what is open still what has the name? A holder removes the file when it is done. */
export function isStillNamed(root: string, path: string, fd: number): boolean {
  return tryWriting(shownPath(root, path), () =>
    beneathRoot(root, path, ({ file }) => {
      const [open, named] = [fstatSync(fd), statOf(file)]
      return named?.ino === open.ino && named.dev === open.dev
    }),
  )
}

/** Writes into the lock that is held who holds it, for others to read. Throws a UserError with code `unwritable`. */
export function writeLockHolder(root: string, path: string, fd: number, text: string): void {
  tryWriting(shownPath(root, path), () => {
    ftruncateSync(fd)
    writeSync(fd, text, 0)
  })
}

export function closeLock(fd: number): void {
  closeSync(fd)
}

/** Removes what nobody needs any more. What cannot be removed is found by the next run. */
export function removeQuietly(root: string, path: string): void {
  try {
    beneathRoot(root, path, ({ file }) => rmSync(file, { recursive: true, force: true }))
  } catch {
    // As said.
  }
}

/** Removes what is left of a replacement that was cut short. */
export function removeBeside(root: string, path: string): void {
  try {
    beneathRoot(root, path, (held) => removeHeld(besideOf(held)))
  } catch {
    // As of `discard`.
  }
}

/** As `discard`, of a path that is held open. */
export function removeHeld(file: string): void {
  try {
    rmSync(file, { recursive: true, force: true })
  } catch {
    // As of `discard`.
  }
}
