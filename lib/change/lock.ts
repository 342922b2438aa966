import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { openReader } from '../host/sysroot.ts'
import { shownPath } from './beneath.ts'
import { type ApplyTarget, missingFolders, openTarget, recover } from './rollback.ts'
import { endOrphans, RUN_VARIABLE, runCommand, setInheritedLock } from './run.ts'
import { closeLock, isStillNamed, makeFolder, openLock, removeFolder, removeQuietly, writeLockHolder } from './write.ts'

/** What a run that holds the lock knows of who else might. */
interface LockHolder {
  pid: number
  /** Start time of the process in clock ticks, field 22 of /proc/PID/stat: process numbers come again. */
  started: string | undefined
  boot: string | undefined
}

/** How often what a gone run left behind is ended, half a second apart, before this run gives up. */
const LOCK_TRIES = 20

/** The holder of a lock as it is now. `own` is a reader on the running system, whatever root is being changed. */
function readLockHolder(own: Reader, pid: number): LockHolder {
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
export async function withLock<T>(target: ApplyTarget, own: Reader, work: () => Promise<T>): Promise<T> {
  const { root } = target
  const folders = missingFolders(openTarget(target), target.journal)
  // Only root looks into it: it holds whole files of /etc.
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

/** The lock's descriptor. Programs of a run that is gone hold its lock still: they are ended. */
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
    // Its holder has removed it meanwhile.
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

/** Its name goes before anybody else may lock it. */
function releaseLock(root: string, path: string, lock: number): void {
  removeQuietly(root, path)
  closeLock(lock)
}

/** `undefined` while somebody else has it. Source: flock(1), which Node has no call for. */
async function tryLock(root: string, path: string): Promise<number | undefined> {
  const lock = openLock(root, path)
  const { code, output } = await runCommand(['flock', '-n', '3'], { root: '/', inherit: lock })
  // A holder removes the file when it is done: what was open before is no lock any more.
  if (code === 0 && isStillNamed(root, path, lock)) return lock
  closeLock(lock)
  if (code === null) throw new UserError('no-flock', `flock cannot be run (${output}); install util-linux`)
  return undefined
}

/** A text that names nobody is that of one who has just begun. */
function isHolderAlive(own: Reader, holder: string): boolean {
  const [pid, started, boot] = holder.trim().split(' ')
  if (started === undefined) return true
  const now = readLockHolder(own, Number(pid))
  return now.started !== undefined && now.started === started && String(now.boot) === boot
}
