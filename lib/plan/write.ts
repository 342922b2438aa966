import { Buffer } from 'node:buffer'
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { UserError } from '../cli/error.ts'
import type { Seen } from '../host/reader.ts'
import { runCommand } from './command.ts'
import type { Content } from './setting.ts'

/**
 * Writes a tree of files, links and folders as the new folder `target`, complete or not at all: it is made beside it
 * and renamed. The folder that it goes into must exist (Node's recursive mkdir never ends below /proc); `target` itself
 * may, if it is empty. All of it is for its owner alone. `durable`: it is on the disk before it has its name, and has its
 * name before this returns.
 * Throws a UserError that names the path and the errno.
 */
export function writeTree(target: string, tree: ReadonlyMap<string, Seen>, durable = false): void {
  const folder = resolve(target)
  if (entriesOf(folder)?.length) throw new UserError('exists', `${folder}: is not empty; name a new folder`)
  let made: string | undefined
  try {
    const beside = `${folder}.${process.pid}`
    mkdirSync(beside, 0o700)
    made = beside
    const folders = foldersOf(tree)
    for (const path of folders) mkdirSync(made + path, { recursive: true, mode: 0o700 })
    for (const [path, entry] of tree) {
      if ('link' in entry) symlinkSync(entry.link, made + path)
      // A folder of whose existence alone somebody asked is there already.
      else if ('file' in entry && !folders.has(path)) writeFileSync(made + path, entry.file, { mode: 0o600 })
      else if ('folder' in entry) {
        mkdirSync(made + path, { recursive: true, mode: 0o700 })
        // A name that was listed but not looked into stays listed as an empty file.
        for (const name of entry.folder) {
          const child = `${path}/${name}`
          if (!tree.has(child) && !folders.has(child)) writeFileSync(made + child, '', { mode: 0o600 })
        }
      }
    }
    if (durable) syncTree(made)
    renameSync(made, folder)
    made = folder
    if (durable) sync(dirname(folder))
  } catch (error) {
    if (made !== undefined) discard(made)
    throw unwritable(folder, error)
  }
}

function unwritable(path: string, error: unknown): UserError {
  if (error instanceof UserError) return error
  const { code, message } = error as NodeJS.ErrnoException
  return new UserError('unwritable', `${path}: cannot be written (${code ?? message})`)
}

function syncTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) syncTree(join(path, entry.name))
    else if (entry.isFile()) sync(join(path, entry.name))
  }
  sync(path)
}

function sync(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

function entriesOf(folder: string): string[] | undefined {
  try {
    return readdirSync(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new UserError('unwritable', `${folder}: cannot be used as a new folder (${code})`)
  }
}

/** Every folder on the way to a path of the tree. */
function foldersOf(tree: ReadonlyMap<string, Seen>): Set<string> {
  const folders = new Set<string>()
  for (const path of tree.keys()) {
    for (let at = dirname(path); at !== '/' && !folders.has(at); at = dirname(at)) folders.add(at)
  }
  return folders
}

/** A file that is being written: beside its target, under a name that no program reads (.conf, .cfg, .d folders). */
export function besideOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.vfio-scripts~`)
}

/**
 * Gives a file its content, whole or not at all, whatever happens meanwhile; `null` removes it. A file that exists
 * keeps its mode, owner, ACL and extended attributes (cp(1) knows how; Node has no calls for them), a new one gets
 * `mode`. Throws a UserError with code `unwritable`; then the file is as it was.
 */
export async function replaceFile(path: string, content: Content, mode: number): Promise<void> {
  await throughBeside(path, content !== null, async (beside) => {
    if (content === null) return unlinkSync(path)
    const exists = existsSync(path)
    if (exists) await copyWith(['--attributes-only'], path, beside)
    writeFileSync(beside, Buffer.from(content, 'latin1'), { flag: exists ? 'r+' : 'wx', mode: 0o600 })
    if (!exists) chmodSync(beside, mode)
  })
}

/** What `make` made beside a file gets the file's name, durably; of a failure nothing is left. */
async function throughBeside(path: string, rename: boolean, make: (beside: string) => unknown): Promise<void> {
  const beside = besideOf(path)
  try {
    rmSync(beside, { force: true })
    await make(beside)
    if (rename) {
      sync(beside)
      renameSync(beside, path)
    }
    sync(dirname(path))
  } catch (error) {
    discard(beside)
    throw unwritable(path, error)
  }
}

async function copyWith(options: readonly string[], from: string, to: string): Promise<void> {
  const argv = ['cp', ...options, '--preserve=all', '--reflink=auto', '--', from, to]
  const { code, output } = await runCommand(argv, { root: '/' })
  if (code !== 0) throw new UserError('unwritable', `${to}: ${output.trim().split('\n').at(-1)}`)
}

/** Copies a file with all its attributes to a new name, durably. */
export async function copyFile(from: string, to: string): Promise<void> {
  await throughBeside(to, true, (beside) => copyWith([], from, beside))
}

/**
 * Puts a copy back in the place of a file, whole or not at all; in a full file system the damaged one makes room. A
 * file that has the copy's size and time was not written since.
 */
export async function putBack(copy: string, path: string): Promise<void> {
  const was = statSync(copy)
  const now = statSync(path, { throwIfNoEntry: false })
  if (now?.size === was.size && now.mtimeMs === was.mtimeMs) return discard(besideOf(path))
  await throughBeside(path, true, async (beside) => {
    await copyWith([], copy, beside).catch(async (error) => {
      if (!String(error).includes('No space left')) throw error
      rmSync(path, { force: true })
      await copyWith([], copy, beside)
    })
  })
}

/** Makes a folder with these permissions, whatever the umask. Its parent exists. */
export function makeFolder(path: string, mode = 0o755): void {
  try {
    if (!existsSync(path)) {
      mkdirSync(path, { mode })
      chmodSync(path, mode)
    }
    sync(dirname(path))
  } catch (error) {
    throw unwritable(path, error)
  }
}

/** Removes a folder that we made, if nobody put anything else into it. */
export function removeFolder(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Not empty: it is somebody else's too by now. Or gone.
  }
}

/** Removes a folder with all that is in it; its name goes first, so that half of it is never taken for the whole. */
export function removeTree(path: string): void {
  const going = path.endsWith('~') ? path : `${path}~`
  try {
    if (path !== going) renameSync(path, going)
    sync(dirname(path))
    rmSync(going, { recursive: true, force: true })
  } catch (error) {
    throw unwritable(path, error)
  }
}

/**
 * Takes a lock: a file that names its holder, whole from the moment it is there. A holder that `gone` knows to have
 * ended is replaced. The other holder's text when somebody else has it, else `undefined`.
 */
export function takeLock(path: string, text: string, gone: (holder: string) => boolean): string | undefined {
  const own = `${path}.${process.pid}`
  const taking = `${path}.taking`
  try {
    for (;;) {
      writeFileSync(own, text)
      if (alsoNamed(own, path)) return undefined
      const holder = textIn(path)
      if (holder === undefined) continue
      if (!gone(holder)) return holder
      // One at a time: a second one would remove the lock that the first has just taken.
      if (alsoNamed(own, taking)) {
        if (textIn(path) === holder) rmSync(path)
        rmSync(taking)
      } else {
        const other = textIn(taking)
        if (other !== undefined && !gone(other)) return other
        rmSync(taking, { force: true })
      }
    }
  } catch (error) {
    throw unwritable(path, error)
  } finally {
    discard(own)
  }
}

const textIn = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, 'utf8') : undefined)

/** Gives a file one more name, if nothing has it. */
function alsoNamed(path: string, name: string): boolean {
  try {
    linkSync(path, name)
  } catch (error) {
    if (/EEXIST|ENOENT/.test(String((error as NodeJS.ErrnoException).code))) return false
    throw error
  }
  return true
}

/** Removes what nobody needs any more. What cannot be removed is found by the next run. */
export function discard(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch {
    // As said.
  }
}
