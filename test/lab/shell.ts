import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

/** What a person can act on: printed as it stands, without a stack trace. */
export class LabError extends Error {}

export interface Outcome {
  code: number
  stdout: string
  stderr: string
}

export interface ShellOptions {
  env?: Record<string, string>
  cwd?: string
  /** After so many seconds the command and its children are killed and the code is 124, as with timeout(1). */
  seconds?: number
}

/** Everything that was started and still runs, each in a process group of its own. */
const running = new Set<ChildProcess>()
let ending = false

/**
 * Starts a program in its own process group. The kernel ends it when the lab itself dies, even by SIGKILL
 * (PR_SET_PDEATHSIG, prctl(2)).
 */
export function start(argv: readonly string[], options: { cwd?: string; env?: Record<string, string> } = {}) {
  if (ending) throw new LabError('the lab is ending')
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', '--', ...argv], {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, LC_ALL: 'C', ...options.env },
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  child.on('close', () => running.delete(child))
  child.stdin.on('error', () => {}) // the program may end without reading what we write
  return child
}

/** Ends a program and its children: asks first, insists after two seconds. */
export function stop(child: ChildProcess): void {
  signal(child, 'SIGTERM')
  setTimeout(() => signal(child, 'SIGKILL'), 2000).unref()
}

/** Ends whatever still runs; what does not listen for two seconds is killed. */
export async function stopAll(): Promise<void> {
  ending = true
  for (const child of running) signal(child, 'SIGTERM')
  for (let waited = 0; running.size > 0 && waited < 2000; waited += 50) await sleep(50)
  for (const child of running) signal(child, 'SIGKILL')
}

function signal(child: ChildProcess, name: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  try {
    process.kill(-child.pid, name)
  } catch {
    // it ended in between
  }
}

/** Runs a program to its end, whatever its exit code. */
export function run(argv: readonly string[], options: ShellOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = start(argv, options)
    const out: Buffer[] = []
    const err: Buffer[] = []
    child.stdout.on('data', (data: Buffer) => out.push(data))
    child.stderr.on('data', (data: Buffer) => err.push(data))
    child.stdin.end()
    let late = false
    const timer = setTimeout(
      () => {
        late = true
        stop(child)
      },
      (options.seconds ?? 900) * 1000,
    )
    child.on('error', (error) => {
      clearTimeout(timer)
      reject(new LabError(`${argv[0]}: ${error.message}`))
    })
    child.on('close', (code) => {
      clearTimeout(timer)
      const stderr = Buffer.concat(err).toString()
      resolve({ code: late ? 124 : (code ?? 128), stdout: Buffer.concat(out).toString(), stderr })
    })
  })
}

/** Runs a program that has to succeed; gives its stdout. */
export async function must(argv: readonly string[], options: ShellOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await run(argv, options)
  if (code === 0) return stdout
  const why = code === 124 ? 'ran past its time limit' : `ended with ${code}`
  throw new LabError(`${argv.join(' ').slice(0, 300)}: ${why}\n${lastLines(`${stdout}\n${stderr}`, 12)}`)
}

/** The last lines of a text that hold something, indented, terminal controls taken out. */
export function lastLines(text: string, count: number): string {
  const control = new RegExp(`${String.fromCharCode(27)}(\\[[0-9;?=]*[A-Za-z]|[()].|[a-z])`, 'g')
  const lines = text.replace(control, '').split(/[\r\n]+/)
  const full = lines.filter((line) => line.trim() !== '')
  return full
    .slice(-count)
    .map((line) => `    | ${line.trimEnd().slice(0, 200)}`)
    .join('\n')
}
