import type { Reader } from '../host/reader.ts'

/** How commands reach the system: run here, run in a chroot, or printed for the person. */
export type Way = 'here' | 'chroot' | 'print'

/** Another root's programs run in a chroot, which needs its /proc, /sys and /dev; without them they are printed. */
export function wayFor(files: Reader): Way {
  if (files.root === '/') return 'here'
  const mounted = ['/proc/self', '/sys/kernel', '/dev/null'].every((path) => files.exists(path))
  return mounted ? 'chroot' : 'print'
}

export interface Ran {
  /** The exit status; `null` when it could not be started, or a signal ended it. */
  code: number | null
  stdout: string
  /** Both streams as they came. */
  output: string
  seconds: number
}

export interface RunOptions {
  root: string
  /** Hears its output as it comes. */
  hear?: (text: string) => void
  /** Ends it when aborted. */
  signal?: AbortSignal
  /** How long to wait. A program that hangs in the kernel cannot be ended: it is left behind. */
  seconds?: number
}

const SBIN = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/**
 * Runs a program, never through a shell, in the C locale, with the folders of system programs on its PATH (su does not
 * put them there). A session of its own: Ctrl-C and a lost terminal reach this process, which decides.
 */
export async function runCommand(argv: readonly string[], options: RunOptions): Promise<Ran> {
  // Loaded only here: it costs a plan that runs nothing five milliseconds.
  const { spawn } = await import('node:child_process')
  const [program = '', ...args] = options.root === '/' ? argv : ['chroot', options.root, ...argv]
  const { PATH, ...rest } = process.env
  const env = { ...rest, PATH: PATH === undefined ? SBIN : `${PATH}:${SBIN}`, LC_ALL: 'C' }
  const began = Date.now()
  return new Promise((settle) => {
    let [stdout, output] = ['', '']
    const end = (code: number | null): void => settle({ code, stdout, output, seconds: (Date.now() - began) / 1000 })
    const child = spawn(program, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
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
    options.signal?.addEventListener('abort', () => child.pid !== undefined && endGroup(child.pid), { once: true })
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      output += text
      options.hear?.(text)
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output += text
      options.hear?.(text)
    })
    child.on('error', (error) => {
      output += error.message
      end(null)
    })
    child.on('close', end)
  })
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGTERM')
  } catch {
    // It has ended meanwhile.
  }
}
