import type { ChildProcess } from 'node:child_process'
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Machine } from './machines.ts'
import { readScreen, type Screen } from './screen.ts'
import { LabError, lastLines, must, start, stop } from './shell.ts'

export interface Result {
  code: number
  stdout: string
  stderr: string
  /** What the script left in ./out, on this machine. */
  files: string
}

export interface Guest {
  machine: Machine
  /** Runs a bash script in the guest as root, in a folder of its own; the scripts under test are on its PATH. */
  run(script: string, options?: { seconds?: number }): Promise<Result>
  /** Leaves the guest and starts it again from the same disk, by the same way or as another machine. */
  reboot(machine?: Machine): Promise<void>
  /** What a display of a machine with `displays` shows. */
  screen(id: 'first' | 'second'): Promise<Screen>
  /** Leaves the guest; QEMU's exit status has to be the one that the guest asked for. */
  end(): Promise<void>
  running(): boolean
  /** Waits until the guest reboots or powers off by itself. */
  gone(seconds: number): Promise<void>
  /** Connects the terminal with a shell in the guest until that ends. */
  shell(): Promise<void>
}

export interface GuestOptions {
  machine: Machine
  /** A folder of its own, with `disk`, and `vmlinux` and `initrd` for a machine that boots directly. */
  folder: string
  /** The console is appended to this file. */
  log: string
  /** The built scripts under test. */
  scripts: readonly string[]
  /** The command line that starts the machine. */
  command(machine: Machine): Promise<string[]>
  /** Called before each boot; what it returns is called with the guest after it, when every device has its driver. */
  booting?(machine: Machine): Promise<(guest: Pick<Guest, 'run'>) => Promise<void>>
}

const payloadSize = 32 * 1024 * 1024
const bootSeconds = { direct: 240, bios: 420, uefi: 420 }

interface Console {
  child: ChildProcess
  /** Waits until the console says it; its last lines are in the error when it does not. */
  until(pattern: RegExp, seconds: number, what: string): Promise<RegExpMatchArray>
  /** QEMU's exit status, once it has one. */
  status(): number | undefined
  ended: Promise<number>
}

/** Starts QEMU with the guest's console on its standard input and output. */
function startConsole(argv: readonly string[], folder: string, log: string): Console {
  const child = start(argv, { cwd: folder })
  let text = ''
  let seen = 0
  let wake = () => {}
  const hear = (data: Buffer) => {
    appendFileSync(log, data)
    text += data.toString('latin1')
    wake()
  }
  child.stdout.on('data', hear)
  child.stderr.on('data', hear)
  let status: number | undefined
  const ended = new Promise<number>((resolve) => {
    child.on('error', () => resolve(127))
    child.on('close', (code) => {
      status = code ?? 128
      wake()
      resolve(status)
    })
  })

  const until = async (pattern: RegExp, seconds: number, what: string) => {
    const end = Date.now() + seconds * 1000
    for (;;) {
      const match = pattern.exec(text.slice(seen))
      if (match !== null) {
        seen += match.index + match[0].length
        return match
      }
      const left = end - Date.now()
      const why = status !== undefined ? `QEMU ended with ${status}` : left <= 0 ? `nothing after ${seconds} s` : ''
      if (why !== '') {
        stop(child)
        throw new LabError(`waiting for ${what}: ${why}; the last lines of ${log}:\n${lastLines(text, 12)}`)
      }
      await Promise.race([
        new Promise<void>((resolve) => (wake = resolve)),
        sleep(Math.min(left, 1000), undefined, { ref: false }),
      ])
    }
  }
  return { child, until, status: () => status, ended }
}

const ready = /LAB ready after ([\d.]+) s/

/** Starts a guest and waits until its devices have their drivers. */
export async function startGuest(options: GuestOptions): Promise<Guest> {
  const { folder, log } = options
  let machine = options.machine
  let runs = 0
  let received = 0
  let guest: Console
  prepareFolder(folder)

  /** The newer QEMU without KVM was seen to stand still for ever behind GRUB, before the kernel says a word: it is started again. */
  const startKernel = async (): Promise<Console> => {
    const first = startConsole(await options.command(machine), folder, log)
    if (!machine.networkFunctions || machine.boot === 'direct') return first
    try {
      await first.until(/Loading initial ramdisk \.{3}\s+\S/, 240, 'the kernel')
      return first
    } catch (error) {
      if (first.status() !== undefined) throw error // it ended by itself
      await first.ended
      appendFileSync(log, '\n--- again: nothing of the kernel ---\n')
      return startConsole(await options.command(machine), folder, log)
    }
  }

  const boot = async () => {
    received = 0
    const booted = await options.booting?.(machine)
    if (machine.boot === 'uefi') cpSync('/usr/share/OVMF/OVMF_VARS_4M.fd', join(folder, 'vars.fd'))
    guest = await startKernel()
    await guest.until(ready, bootSeconds[machine.boot], 'the boot')
    await booted?.({ run })
  }

  const say = (line: string) => guest.child.stdin?.write(`${line}\n`)

  const leave = async () => {
    if (guest.status() !== undefined) return
    say('end 42')
    const late = setTimeout(() => stop(guest.child), 60_000)
    const status = await guest.ended
    clearTimeout(late)
    if (status !== 42 * 2 + 1)
      throw new LabError(`the guest did not end by itself: QEMU's exit status is ${status}, see ${log}`)
  }

  const run: Guest['run'] = async (script, { seconds = 120 } = {}) => {
    const files = join(folder, `run-${++runs}`)
    await writePayload(folder, files, script, options.scripts)
    say(`run ${seconds}`)
    const done = await guest.until(/LAB done (\d+)\s/, seconds + 60, `a command (limit ${seconds} s)`)
    const length = Number(done[1])
    const results = join(folder, 'results')
    for (let waited = 0; statSync(results).size < received + length; waited += 20) {
      if (waited > 30_000) throw new LabError(`the results of a command did not arrive: ${length} bytes, see ${log}`)
      await sleep(20)
    }
    writeFileSync(join(files, 'result.tar'), readFileSync(results).subarray(received, received + length))
    received += length
    await must(['tar', '-C', files, '-xf', join(files, 'result.tar')])
    const read = (name: string) => readFileSync(join(files, 'out', name), 'utf8')
    const code = Number(read('code'))
    if (code === 124) {
      throw new LabError(
        `a command in the guest ran past ${seconds} s: ${script.trim().split('\n')[0]}\n${lastLines(read('stderr'), 8)}`,
      )
    }
    return { code, stdout: read('stdout'), stderr: read('stderr'), files: join(files, 'out') }
  }

  await boot()
  return {
    get machine() {
      return machine
    },
    run,
    async reboot(other) {
      await leave()
      machine = { ...(other ?? machine) }
      await boot()
    },
    end: leave,
    screen: (id) => readScreen(join(folder, 'monitor'), folder, id),
    running: () => guest.status() === undefined,
    async gone(seconds) {
      await Promise.race([guest.ended, sleep(seconds * 1000, undefined, { ref: false })])
      if (guest.status() === undefined) throw new LabError(`the guest still runs after ${seconds} s, see ${log}`)
    },
    async shell() {
      say('shell')
      const { stdin, stdout } = process
      if (stdin.isTTY) stdin.setRawMode(true)
      guest.child.stdout?.pipe(stdout, { end: false })
      stdin.on('data', (data) => guest.child.stdin?.write(data))
      stdin.on('end', () => say('exit'))
      await guest.until(/LAB shell ended/, 24 * 3600, 'the shell')
      if (stdin.isTTY) stdin.setRawMode(false)
      stdin.pause()
      guest.child.stdout?.unpipe(stdout)
      await leave()
    },
  }
}

/** What a guest's folder needs besides its disk, whatever the machine. */
function prepareFolder(folder: string): void {
  for (const [name, size] of [
    ['payload', payloadSize],
    ['nvme.img', 64 * 1024 * 1024],
  ] as const) {
    writeFileSync(join(folder, name), '')
    truncateSync(join(folder, name), size)
  }
}

/** Puts `run` and `bin/` on the payload disk as a tar, in place: QEMU has the file open. */
async function writePayload(folder: string, files: string, script: string, scripts: readonly string[]): Promise<void> {
  const bin = join(files, 'in/bin')
  mkdirSync(bin, { recursive: true })
  writeFileSync(join(files, 'in/run'), `${script}\n`)
  for (const path of scripts) {
    cpSync(path, join(bin, basename(path)))
    symlinkSync(basename(path), join(bin, basename(path).replace(/\.mjs$/, '')))
  }
  await must(['tar', '-C', join(files, 'in'), '-cf', join(files, 'in.tar'), '.'])
  const data = readFileSync(join(files, 'in.tar'))
  if (data.length > payloadSize)
    throw new LabError(`the scripts are ${data.length} bytes, the payload disk has ${payloadSize}`)
  writeFileSync(join(folder, 'payload'), data, { flag: 'r+' })
}
