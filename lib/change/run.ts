import type { Buffer } from 'node:buffer'
import { UserError } from '../core/error.ts'
import type { Reader } from '../host/reader.ts'
import { withProgress } from '../terminal/progress.ts'

/** The way in which commands reach the system: run here, run in a chroot, or printed for the person. */
export type CommandMode = 'here' | 'chroot' | 'print'

/** Decides how to run commands. Those of another root need its /proc, /sys and /dev; without them they are printed. */
export function decideCommandMode(files: Reader): CommandMode {
  if (files.root === '/') return 'here'
  const mounted = ['/proc/self', '/sys/kernel', '/dev/null'].every((path) => files.exists(path))
  return mounted ? 'chroot' : 'print'
}

export interface CommandResult {
  /** The exit status; `null` when it could not be started, or a signal ended it. */
  code: number | null
  stdout: string
  /** The text of both streams, in the order in which it came. */
  output: string
  seconds: number
}

export interface RunOptions {
  root: string
  /** Is called with the program's output as it comes. */
  onOutput?: (text: string) => void
  /** The signal that ends the program when it is aborted. */
  signal?: AbortSignal
  /** The seconds to wait. A program that hangs in the kernel cannot be ended: it is left behind. */
  seconds?: number
  /** The descriptor that the program inherits as number 3, instead of the lock's. */
  inherit?: number
}

/** LVM's tools complain of every descriptor that they inherit. Source: lvm(8). */
const QUIET = { LVM_SUPPRESS_FD_WARNINGS: '1' }
const SBIN = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** The environment variable in which every program that a run starts under the lock finds the lock's text. */
export const RUN_VARIABLE = 'VFIO_SCRIPTS_RUN'
/** The descriptor of the lock that this run holds: every program that it starts inherits it, as number 3. */
let lock: number | undefined

/** Sets the descriptor that programs inherit from now on; `undefined`: none. */
export function setInheritedLock(fd: number | undefined): void {
  lock = fd
}

/** The seconds that a program has to clean up after it was told to end. */
const END_SECONDS = 5

/**
 * Runs a program, never through a shell, in the C locale, with the folders of system programs added to its PATH (su
 * does not add them). It has a session of its own: Ctrl-C and a lost terminal reach only this process, which decides.
 * A terminal shows which one runs, where nobody is shown its output.
 */
export async function runCommand(argv: readonly string[], options: RunOptions): Promise<CommandResult> {
  const work = (): Promise<CommandResult> => runToEnd(argv, options)
  return options.onOutput === undefined ? withProgress(argv.join(' '), work) : work()
}

async function runToEnd(argv: readonly string[], options: RunOptions): Promise<CommandResult> {
  const { spawn } = await loadProcesses()
  const [program = '', ...args] = options.root === '/' ? argv : ['chroot', options.root, ...argv]
  const env = programEnvironment()
  const began = Date.now()
  return new Promise((settle) => {
    let [stdout, output] = ['', '']
    const end = (code: number | null): void => {
      options.signal?.removeEventListener('abort', abort)
      clearTimeout(harder)
      settle({ code, stdout, output, seconds: (Date.now() - began) / 1000 })
    }
    const inherited = options.inherit ?? lock
    const stdio = ['ignore' as const, 'pipe' as const, 'pipe' as const, ...(inherited === undefined ? [] : [inherited])]
    const child = spawn(program, args, { env, detached: true, stdio })
    if (options.seconds !== undefined) {
      const timer = setTimeout(() => {
        if (child.pid !== undefined) endGroup(child.pid)
        output += `no answer after ${options.seconds} s`
        // Its pipes are sockets, which would keep this process waiting.
        for (const one of [child, child.stdout, child.stderr]) (one as { unref?: () => void }).unref?.()
        end(null)
      }, options.seconds * 1000)
      child.on('close', () => clearTimeout(timer))
    }
    let harder: NodeJS.Timeout | undefined
    const abort = (): void => {
      if (child.pid === undefined) return
      const { pid } = child
      endGroup(pid)
      harder = setTimeout(() => endGroup(pid, 'SIGKILL'), END_SECONDS * 1000)
    }
    options.signal?.addEventListener('abort', abort, { once: true })
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      output += text
      options.onOutput?.(text)
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      output += text
      options.onOutput?.(text)
    })
    child.on('error', (error) => {
      output += error.message
      end(null)
    })
    child.on('close', end)
  })
}

/** Loads what runs programs only where one is run: it costs a plan five milliseconds. */
function loadProcesses() {
  return import('node:child_process')
}

/** Returns the environment of every program: the C locale, and the folders of system programs on the PATH. */
function programEnvironment(): NodeJS.ProcessEnv {
  const { PATH, ...rest } = process.env
  return { ...rest, PATH: PATH === undefined ? SBIN : `${PATH}:${SBIN}`, LC_ALL: 'C', ...QUIET }
}

/**
 * Runs a program of this machine that writes what it makes of its input, and returns that as it comes: neither is ever
 * in memory as a whole. One whose output nobody reads any more is ended. Throws a UserError with code `missing-program`
 * or, when the program fails, `damaged`.
 */
export async function* runFilter(argv: readonly string[], input: Iterable<Buffer>): AsyncGenerator<Buffer, void> {
  const [{ spawn }, { pipeline, Readable }] = await Promise.all([loadProcesses(), import('node:stream')])
  const [program = '', ...args] = argv
  const child = spawn(program, args, { env: programEnvironment(), detached: true, stdio: 'pipe' })
  let failure: Error | undefined
  let said = ''
  const ended = new Promise<number | null>((settle) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = `it takes the program ${program}, which is not installed`
      failure = new UserError('missing-program', error.code === 'ENOENT' ? missing : error.message)
      settle(null)
    })
    child.on('close', settle)
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < 1000) said += text
  })
  pipeline(Readable.from(input, { highWaterMark: 1 }), child.stdin, (error) => {
    // A program that fails does not read to the end: its exit code says it.
    if (error instanceof UserError) failure ??= error
  })
  let whole = false
  try {
    for await (const chunk of child.stdout) yield chunk
    whole = true
  } finally {
    if (!whole && child.pid !== undefined) endGroup(child.pid)
  }
  const code = await ended
  if (failure !== undefined) throw failure
  if (code !== 0)
    throw new UserError(
      'damaged',
      `${program} cannot unpack it${said === '' ? '' : ` (${said.trim().split('\n')[0]})`}`,
    )
}

/**
 * Ends the programs that a gone run left running, and waits for that: they would go on writing the files that are being
 * put back. `style` opens a reader on the running system. Throws a UserError with code `busy` when one does not end.
 */
export async function endOrphans(readNow: () => Reader, run: string): Promise<void> {
  const began = Date.now()
  for (;;) {
    const reader = readNow()
    const left = (reader.list('/proc') ?? []).filter((name) => /^\d+$/.test(name) && isOfRun(reader, name, run))
    if (left.length === 0) return
    const seconds = (Date.now() - began) / 1000
    if (seconds > 3 * END_SECONDS)
      throw new UserError('busy', `process ${left[0]}, left by a run that was cut short, does not end; reboot first`)
    const stats = left.map((name) => reader.optionalText(`/proc/${name}/stat`) ?? '')
    // Field 5 of proc_pid_stat(5).
    const groups = new Set(stats.map((stat) => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2])))
    for (const group of groups) if (group > 1) endGroup(group, seconds > END_SECONDS ? 'SIGKILL' : 'SIGTERM')
    await new Promise((wake) => setTimeout(wake, 100))
  }
}

function isOfRun(reader: Reader, pid: string, run: string): boolean {
  const environment = reader.optionalBytes(`/proc/${pid}/environ`)?.toString('utf8').split('\0')
  return environment?.includes(`${RUN_VARIABLE}=${run}`) ?? false
}

function endGroup(pid: number, signal: NodeJS.Signals = 'SIGTERM'): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended meanwhile.
  }
}
