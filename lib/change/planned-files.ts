import { Buffer } from 'node:buffer'
import type { Reader } from '../host/reader.ts'
import type { Change } from './plan.ts'

/** Returns a reader that shows the files as they will be once the changes of a plan are made. */
export function filesAfter(files: Reader, changes: readonly Change[]): Reader {
  const contents = new Map(
    changes.flatMap((change) => (change.kind === 'file' ? [[change.path, change.after] as const] : [])),
  )
  const known = (path: string): string | null | undefined => contents.get(files.resolve(path) ?? path)
  const read = <T>(path: string, of: (text: string) => T, otherwise: () => T): T | undefined => {
    const text = known(path)
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
    exists: (path) =>
      read(
        path,
        () => true,
        () => files.exists(path),
      ) ?? false,
    list(path) {
      const folder = `${files.resolve(path) ?? path}/`
      const own = [...contents].filter(([at]) => at.startsWith(folder) && !at.slice(folder.length).includes('/'))
      const names = new Set(files.list(path) ?? [])
      for (const [at, content] of own) {
        if (content === null) names.delete(at.slice(folder.length))
        else names.add(at.slice(folder.length))
      }
      return names.size === 0 && files.list(path) === undefined ? undefined : [...names].sort()
    },
  }
}
