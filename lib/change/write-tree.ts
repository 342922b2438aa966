import { mkdirSync, readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { UserError } from '../core/error.ts'
import type { TreeEntry } from '../host/reader.ts'
import { beneathRoot, shownPath } from './beneath.ts'
import { removeHeld, syncPath, tryWriting } from './write.ts'

/**
 * Writes a tree of files, links and folders as the new folder `path`, complete or not at all: the tree is made beside
 * it and renamed. The parent folder must exist; `path` itself may exist if it is empty. Only the owner may read the
 * tree. `durable`: the tree is on the disk before it gets its name, and the name is before this returns.
 * Throws a UserError that names the path: `exists` (it is not empty), `unwritable` (with the errno), `outside`.
 */
export function writeTree(root: string, path: string, tree: ReadonlyMap<string, TreeEntry>, durable = false): void {
  const shown = shownPath(root, path)
  tryWriting(shown, () =>
    beneathRoot(root, path, ({ folder, file }) => {
      if (readFolderNames(shown, file)?.length)
        throw new UserError('exists', `${shown}: is not empty; name a new folder`)
      let made: string | undefined
      try {
        const beside = `${file}.${process.pid}`
        mkdirSync(beside, 0o700)
        made = beside
        fill(made, tree)
        if (durable) syncTree(made)
        renameSync(made, file)
        made = file
        if (durable) syncPath(folder)
      } catch (error) {
        if (made !== undefined) removeHeld(made)
        throw error
      }
    }),
  )
}

function fill(made: string, tree: ReadonlyMap<string, TreeEntry>): void {
  const folders = foldersOf(tree)
  for (const path of folders) mkdirSync(made + path, { recursive: true, mode: 0o700 })
  for (const [path, entry] of tree) {
    if ('link' in entry) symlinkSync(entry.link, made + path)
    // A path that is a folder of the tree too was only asked for its existence, and is made already.
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
}

function syncTree(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) syncTree(join(path, entry.name))
    else if (entry.isFile()) syncPath(join(path, entry.name))
  }
  syncPath(path)
}

function readFolderNames(shown: string, folder: string): string[] | undefined {
  try {
    return readdirSync(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    throw new UserError('unwritable', `${shown}: cannot be used as a new folder (${code})`)
  }
}

/** Returns every folder on the way to a path of the tree. */
function foldersOf(tree: ReadonlyMap<string, TreeEntry>): Set<string> {
  const folders = new Set<string>()
  for (const path of tree.keys()) {
    for (let at = dirname(path); at !== '/' && !folders.has(at); at = dirname(at)) folders.add(at)
  }
  return folders
}
