import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/sysroot.ts'
import { shownPath } from './beneath.ts'
import { type ApplyTarget, missingFolders, openTarget, recover } from './rollback.ts'
import { endOrphans, RUN_VARIABLE, runCommand, setInheritedLock } from './run.ts'
import { closeLock, isStillNamed, makeFolder, openLock, removeFolder, removeQuietly, writeLockHolder } from './write.ts'

/** The process that holds the lock, told apart from a later process with the same number. */
interface LockHolder {
  pid: number
  /** The start time of the process in clock ticks, field 22 of /proc/PID/stat: process numbers are used again. */
  started: string | undefined
  boot: string | undefined
}

/** The number of times, 250 ms apart, that this run ends the programs that a gone run left, before it gives up. */
const LOCK_TRIES = 20

/** Reads the holder `pid` as it is now. `own` is a reader on the running system, whatever root is being changed. */
function readLockHolder(own: Reader, pid: number): LockHolder {
  const stat = own.optionalText(`/proc/${pid}/stat`)
  const boot = own.optionalText('/proc/sys/kernel/random/boot_id')
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? []
  // A zombie does nothing any more: it counts as ended.
  return { pid, started: state === 'Z' ? undefined : fields[18], boot }
}

/**
 * Runs `work` while it holds the lock of the system, after it took back what a run that was cut short had changed.
 * Throws a UserError: `busy` when another run holds the lock, `no-flock`, those of `recover` and of `work`.
 */
export async function withLock<T>(target: ApplyTarget, own: Reader, work: () => Promise<T>): Promise<T> {
  const { root } = target
  const folders = missingFolders(openTarget(target), target.journal)
  // Only root may read the journal: it holds whole files of /etc.
  for (const folder of folders) makeFolder(root, folder, folder === target.journal ? 0o700 : 0o755)
  const path = `${target.journal}/lock`
  let lock: number | undefined
  try {
    lock = await takeLock(target, own, path)
    setInheritedLock(lock)
    await recover(target)
    return await work()
  } finally {
    setInheritedLock(undefined)
    if (lock !== undefined) releaseLock(root, path, lock)
    for (const folder of folders.reverse()) removeFolder(root, folder)
  }
}

/** Takes the lock and returns its descriptor. Ends programs of a gone run that still hold it. */
async function takeLock(target: ApplyTarget, own: Reader, path: string): Promise<number> {
  const { pid, started, boot } = readLockHolder(own, process.pid)
  const text = `${pid} ${started} ${boot}`
  for (let tries = 0; ; tries++) {
    const lock = await tryLock(target.root, path)
    if (lock !== undefined) {
      process.env[RUN_VARIABLE] = text
      try {
        writeLockHolder(target.root, path, lock, text)
        return lock
      } catch (error) {
        releaseLock(target.root, path, lock)
        throw error
      }
    }
    const holder = openTarget(target).text(path)
    // The holder has removed the file meanwhile.
    if (holder === undefined) continue
    if (isHolderAlive(own, holder) || tries > LOCK_TRIES)
      throw new UserError(
        'busy',
        `process ${holder.split(' ')[0]} is changing this system; wait until it is done (${shownPath(target.root, path)})`,
      )
    await endOrphans(() => openReader('/'), holder)
    await new Promise((wake) => setTimeout(wake, 250))
  }
}

/** Releases the lock: removes its file first, while nobody else can lock it. */
function releaseLock(root: string, path: string, lock: number): void {
  removeQuietly(root, path)
  closeLock(lock)
}

/** Returns the lock's descriptor; `undefined` while another process has it. Runs flock(1): Node has no call for it. */
async function tryLock(root: string, path: string): Promise<number | undefined> {
  const lock = openLock(root, path)
  const { code, output } = await runCommand(['flock', '-n', '3'], { root: '/', inherit: lock })
  // A holder removes the file when it is done: a descriptor that was opened before then is no lock any more.
  if (code === 0 && isStillNamed(root, path, lock)) return lock
  closeLock(lock)
  if (code === null) throw new UserError('no-flock', `flock cannot be run (${output}); install util-linux`)
  return undefined
}

/** Does the process that the lock's text names still run? A text without a start time is of a run that just began. */
function isHolderAlive(own: Reader, holder: string): boolean {
  const [pid, started, boot] = holder.trim().split(' ')
  if (started === undefined) return true
  const now = readLockHolder(own, Number(pid))
  return now.started !== undefined && now.started === started && String(now.boot) === boot
}
