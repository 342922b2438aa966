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

/** Returns the UserError for a failure to write: the error itself if it is one, else one with code `unwritable`. */
function unwritable(shown: string, error: unknown): UserError {
  if (error instanceof UserError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return new UserError('unwritable', `${shown}: cannot be written (${code ?? message})`)
}

/** Runs system calls that write. Throws a UserError with code `unwritable`, which names the path and the errno. */
export function tryWriting<T>(shown: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw unwritable(shown, error)
  }
}

/** Writes what a file or folder holds to the disk before it returns: fsync(2). */
export function syncPath(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

const statOf = (file: string): Stats | undefined => lstatSync(file, { throwIfNoEntry: false })

/** Returns the path beside a file where it is written first: no program reads such a name (.conf, .cfg, .d folders). */
const besideOf = ({ folder, name }: HeldPath): string => `${folder}/.${name}.vfio-scripts~`

/**
 * Replaces a file's content, whole or not at all, whatever happens meanwhile; `null` removes the file. A file that
 * exists keeps its mode, owner, ACL and extended attributes (through cp(1): Node has no calls for them), a new one gets
 * `mode`. Throws a UserError with code `unwritable` or `outside`; then the file is as it was, or it has its new content
 * and only the sync failed.
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

/** Renames the file that `make` writes beside a file to that file's name, durably; a failure leaves nothing behind. */
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

/** Copies with cp(1). `from` and `to` are names in folders that this process holds open: no link leads elsewhere. */
async function copyWith(options: readonly string[], from: string, to: string): Promise<void> {
  const argv = ['cp', ...options, '--preserve=all', '--no-dereference', '--reflink=auto', '--', from, to]
  const { code, output } = await runCommand(argv, { root: '/' })
  if (code === 0) return
  const reason = output.trim().split('\n').at(-1)?.split(': ').at(-1)
  throw Object.assign(new Error(reason), { code: /No space left/.test(output) ? 'ENOSPC' : reason })
}

/** Copies a file with all its attributes to a new name, durably. Throws as `replaceFile` does. */
export async function copyFile(root: string, from: string, to: string): Promise<void> {
  await replaceByRename(root, to, true, (beside) => beneathRoot(root, from, ({ file }) => copyWith([], file, beside)))
}

/**
 * Puts a copy back in the place of a file, whole or not at all; in a full file system the damaged file is removed first
 * to make room. A file with the copy's size and time was not written since, and stays. Throws as `replaceFile` does.
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

/** Makes a folder with these permissions, whatever the umask. Its parent must exist. Throws as `replaceFile` does. */
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
    // It is gone, or not empty: somebody else uses it too by now.
  }
}

/**
 * Removes a folder with all that is in it. It is renamed first, so that half of it is never taken for the whole.
 * Throws as `replaceFile` does.
 */
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
 * Opens the lock file, makes it if need be, and returns its descriptor. flock(2) locks the open file, so programs that
 * inherit the descriptor hold the lock as well, until the last of them ends. Throws as `replaceFile` does.
 */
export function openLock(root: string, path: string): number {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  return tryWriting(shownPath(root, path), () => beneathRoot(root, path, ({ file }) => openSync(file, flags, 0o600)))
}

/** Is the open file still the one at this path? A holder removes the file when it is done. */
export function isStillNamed(root: string, path: string, fd: number): boolean {
  return tryWriting(shownPath(root, path), () =>
    beneathRoot(root, path, ({ file }) => {
      const [open, named] = [fstatSync(fd), statOf(file)]
      return named?.ino === open.ino && named.dev === open.dev
    }),
  )
}

/** Writes the holder's text into the held lock, for others to read. Throws a UserError with code `unwritable`. */
export function writeLockHolder(root: string, path: string, fd: number, text: string): void {
  tryWriting(shownPath(root, path), () => {
    ftruncateSync(fd)
    writeSync(fd, text, 0)
  })
}

/** Closes the lock's descriptor; the lock is free once no other program has it open. */
export function closeLock(fd: number): void {
  closeSync(fd)
}

/** Removes a file or folder that nothing needs any more. What cannot be removed is left to the next run. */
export function removeQuietly(root: string, path: string): void {
  try {
    beneathRoot(root, path, ({ file }) => rmSync(file, { recursive: true, force: true }))
  } catch {
    // It is left to the next run.
  }
}

/** Removes what a replacement that was cut short left beside the file. What cannot be removed stays. */
export function removeBeside(root: string, path: string): void {
  try {
    beneathRoot(root, path, (held) => removeHeld(besideOf(held)))
  } catch {
    // It stays.
  }
}

/** Does the same as `removeQuietly` for a path in a folder that is held open. */
export function removeHeld(file: string): void {
  try {
    rmSync(file, { recursive: true, force: true })
  } catch {
    // It is left to the next run.
  }
}
