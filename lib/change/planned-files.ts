import { Buffer } from 'node:buffer'
import type { Reader } from '../host/reader.ts'
import type { Change } from './plan.ts'

/** Returns a reader that shows the files as they will be once the changes of a plan are made. */
export function filesAfter(files: Reader, changes: readonly Change[]): Reader {
  // Of a new file, and of a new folder of it, only the folders above are there.
  const placeOf = (path: string): string => {
    const at = path.lastIndexOf('/')
    return files.resolve(path) ?? (at <= 0 ? path : `${placeOf(path.slice(0, at))}${path.slice(at)}`)
  }
  const planned = new Map(
    changes.flatMap((change) => (change.kind === 'file' ? [[placeOf(change.path), change] as const] : [])),
  )
  const read = <T>(path: string, of: (text: string) => T, otherwise: () => T): T | undefined => {
    const text = planned.get(placeOf(path))?.after
    return text === undefined ? otherwise() : text === null ? undefined : of(text)
  }
  const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
  const part =
    (limit?: number, from = 0) =>
    (content: string): Buffer =>
      bytes(content).subarray(from, limit === undefined ? undefined : from + limit)
  const text = (content: string): string => bytes(content).toString('utf8').replace(/\n$/, '')
  return {
    ...files,
    bytes: (path, limit, from) => read(path, part(limit, from), () => files.bytes(path, limit, from)),
    optionalBytes: (path, limit, from) => read(path, part(limit, from), () => files.optionalBytes(path, limit, from)),
    text: (path) => read(path, text, () => files.text(path)),
    optionalText: (path) => read(path, text, () => files.optionalText(path)),
    size: (path) =>
      read<number | undefined>(
        path,
        ({ length }) => length,
        () => files.size(path),
      ),
    resolve: (path) =>
      read<string | undefined>(
        path,
        () => placeOf(path),
        () => files.resolve(path),
      ),
    exists: (path) =>
      read(
        path,
        () => true,
        () => files.exists(path),
      ) ?? false,
    access: (path) =>
      files.access(path) ??
      read<ReturnType<Reader['access']>>(
        path,
        () => ({ mode: planned.get(placeOf(path))?.mode ?? 0o644, uid: 0, gid: 0, block: false }),
        () => undefined,
      ),
    list(path) {
      const folder = `${placeOf(path)}/`
      const names = new Set(files.list(path) ?? [])
      for (const [at, { after }] of planned) {
        if (!at.startsWith(folder)) continue
        const [name = '', ...more] = at.slice(folder.length).split('/')
        if (after !== null) names.add(name)
        else if (more.length === 0) names.delete(name)
      }
      return names.size === 0 && files.list(path) === undefined ? undefined : [...names].sort()
    },
  }
}
