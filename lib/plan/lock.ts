import { UserError } from '../cli/error.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/rooted.ts'
import { endLeftBehind, RUN } from './command.ts'
import { at, missingFolders, present, recover, type Target } from './rollback.ts'
import { discard, makeFolder, removeFolder, takeLock } from './write.ts'

/** What a run that holds the lock knows of who else might. */
export interface Holder {
  pid: number
  /** Start time of the process in clock ticks, field 22 of /proc/PID/stat: process numbers come again. */
  started: string | undefined
  boot: string | undefined
}

/** The holder of a lock as it is now. `own` is a reader on the running system, whatever root is being changed. */
export function holderOf(own: Reader, pid: number): Holder {
  const stat = own.optionalText(`/proc/${pid}/stat`)
  const boot = own.optionalText('/proc/sys/kernel/random/boot_id')
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  // A zombie does nothing any more, however long its parent leaves it.
  return { pid, started: state === 'Z' ? undefined : fields[18], boot }
}

/**
 * Runs `work` while nobody else changes this system. What a run that was cut short left is taken back first.
 * Throws a UserError with code `busy` when somebody is at it.
 */
export async function withLock<T>(target: Target, own: Reader, work: () => Promise<T>): Promise<T> {
  const folders = missingFolders(present(target), target.journal)
  // Only root looks into it: it holds whole files of /etc.
  for (const folder of folders) makeFolder(at(target, folder), folder === target.journal ? 0o700 : 0o755)
  const lock = at(target, `${target.journal}/lock`)
  const gone = (text: string): boolean => {
    const [pid, started, boot] = text.trim().split(' ')
    const now = holderOf(own, Number(pid))
    return now.started === undefined || now.started !== started || String(now.boot) !== boot
  }
  const ended = new Set<string>()
  const { pid, started, boot } = holderOf(own, process.pid)
  const text = `${pid} ${started} ${boot}`
  const other = takeLock(lock, text, (holder) => {
    if (gone(holder)) ended.add(holder)
    return ended.has(holder)
  })
  if (other !== undefined) {
    throw new UserError(
      'busy',
      `process ${other.split(' ')[0]} is changing this system; wait until it is done (${lock})`,
    )
  }
  try {
    process.env[RUN] = text
    for (const holder of ended) await endLeftBehind(() => openReader('/'), holder)
    for (const name of present(target).list(target.journal) ?? []) {
      const path = `${target.journal}/${name}`
      if (/^lock\./.test(name) && gone(present(target).text(path) ?? '')) discard(at(target, path))
    }
    await recover(target)
    return await work()
  } finally {
    discard(lock)
    for (const folder of folders.reverse()) removeFolder(at(target, folder))
  }
}
