import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { UserError } from '../cli/error.ts'
import type { Seen } from '../host/reader.ts'

/**
 * Writes a tree of files, links and folders as the new folder `target`, complete or not at all: it is made beside it
 * and renamed. The folder that it goes into must exist (Node's recursive mkdir never ends below /proc); `target` itself
 * may, if it is empty. Throws a UserError that names the path and the errno.
 */
export function writeTree(target: string, tree: ReadonlyMap<string, Seen>): void {
  const folder = resolve(target)
  if (entriesOf(folder)?.length) throw new UserError('exists', `${folder}: is not empty; name a new folder`)
  let made: string | undefined
  try {
    const beside = `${folder}.${process.pid}`
    mkdirSync(beside)
    made = beside
    const folders = foldersOf(tree)
    for (const path of folders) mkdirSync(made + path, { recursive: true })
    for (const [path, entry] of tree) {
      if ('link' in entry) symlinkSync(entry.link, made + path)
      // A folder of whose existence alone somebody asked is there already.
      else if ('file' in entry && !folders.has(path)) writeFileSync(made + path, entry.file)
      else if ('folder' in entry) {
        mkdirSync(made + path, { recursive: true })
        // A name that was listed but not looked into stays listed as an empty file.
        for (const name of entry.folder) {
          const child = `${path}/${name}`
          if (!tree.has(child) && !folders.has(child)) writeFileSync(made + child, '')
        }
      }
    }
    renameSync(made, folder)
  } catch (error) {
    if (made !== undefined) rmSync(made, { recursive: true, force: true })
    const { code, message } = error as NodeJS.ErrnoException
    throw new UserError('unwritable', `${folder}: cannot be written (${code ?? message})`)
  }
}

function entriesOf(folder: string): string[] | undefined {
  try {
    return readdirSync(folder)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new UserError(
      'unwritable',
      `${folder}: cannot be used as a new folder (${(error as NodeJS.ErrnoException).code})`,
    )
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
