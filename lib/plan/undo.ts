import type { Reader } from '../host/reader.ts'
import { type Claim, claimsOf, historyOf, type Recorded } from './journal.ts'
import { type CommandChange, changesFor, type FileChange, type Plan } from './plan.ts'
import { type Content, removeSetting, type Setting } from './setting.ts'

/**
 * The plan that takes claims back. A file that is still as we left it, and that nothing else of ours needs, becomes
 * what it was, byte for byte; any other loses our settings and keeps every later edit. A setting that other devices
 * need too stays.
 */
export function undoPlan(
  files: Reader,
  journal: readonly Recorded[],
  going: readonly Claim[],
  commands: readonly CommandChange[],
): Plan {
  const staying = claimsOf(journal).filter(
    (one) =>
      !going.some(
        ({ entry, device, key }) => one.entry.number === entry.number && one.device === device && one.key === key,
      ),
  )
  const kept = new Set(staying.map(({ key }) => key))
  const stay = new Set(staying.map(({ setting }) => setting.path))
  const settings = [
    ...new Map(going.filter(({ key }) => !kept.has(key)).map(({ key, setting }) => [key, setting])).values(),
  ]
  const read = contentReader(files)
  const notes: string[] = []
  const changes = changesFor(settings, read, removeSetting).map((change): FileChange => {
    const history = historyOf(journal, change.path)
    if (stay.has(change.path)) return { ...change, reason: 'other devices still need the rest' }
    if (history?.last === change.before) return { ...change, after: history.before, reason: 'as it was before' }
    notes.push(`${change.path} was changed since: only our settings are taken out of it.`)
    return { ...change, reason: 'changed since: without our settings' }
  })
  notes.push(...missing(settings, read))
  return {
    // Files that somebody removed already may still be in the images.
    changes: [...changes, ...(settings.length > 0 ? commands : [])],
    settings: [],
    notes,
    rebootNeeded: settings.length > 0,
  }
}

/** Files of ours that somebody removed already. */
function missing(settings: readonly Setting[], read: (path: string) => Content): string[] {
  const paths = new Set(settings.map(({ path }) => path).filter((path) => read(path) === null))
  return [...paths].map((path) => `${path} is gone already.`)
}

/** A file's content, one character a byte. */
export function contentReader(files: Reader): (path: string) => Content {
  return (path) => files.bytes(path)?.toString('latin1') ?? null
}
