// Writes files and links below one folder; paths are relative to it ("sys/devices/…").
import { existsSync, mkdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, posix } from 'node:path'

export interface Tree {
  mkdir(path: string): void
  file(path: string, content: string | Uint8Array, mode?: number): void
  /** a symbolic link to another path of the tree, relative as in sysfs */
  link(path: string, to: string): void
  /** a symbolic link with exactly this text, in place of what is there */
  rawLink(path: string, text: string): void
}

export function makeTree(root: string): Tree {
  const made = new Set<string>()
  const mkdir = (path: string): void => {
    if (made.has(path)) return
    const above = dirname(path)
    // One plain mkdir is several times faster than a recursive one.
    if (made.has(above)) {
      if (!existsSync(`${root}/${path}`)) mkdirSync(`${root}/${path}`)
    } else mkdirSync(`${root}/${path}`, { recursive: true })
    for (let at = path; at !== '.' && at !== '/' && !made.has(at); at = dirname(at)) made.add(at)
  }
  const rawLink = (path: string, text: string): void => {
    mkdir(dirname(path))
    try {
      symlinkSync(text, `${root}/${path}`)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      unlinkSync(`${root}/${path}`)
      symlinkSync(text, `${root}/${path}`)
    }
  }
  return {
    mkdir,
    rawLink,
    file(path, content, mode = 0o644) {
      mkdir(dirname(path))
      writeFileSync(`${root}/${path}`, content, { mode })
    },
    link(path, to) {
      rawLink(path, posix.relative(dirname(path), to))
    },
  }
}
