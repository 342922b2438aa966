import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { cached, type Say } from './cache.ts'
import type { Contents } from './contents.ts'
import { type Attached, copyDisk, tryWithDisk, withDisk } from './disk.ts'
import { expectCode } from './expect.ts'
import {
  addForesight,
  type ForeseenBoot,
  type Foresight,
  foresightLine,
  heldAgainst,
  lookAtDrivers,
  readForesight,
} from './foresight.ts'
import { type Guest, startGuest } from './guest.ts'
import { type Images, images } from './images.ts'
import { type Machine, machineName, qemuArguments } from './machines.ts'
import { qemuCommand } from './qemu.ts'
import { LabError, lastLines, type Outcome, run } from './shell.ts'

export interface Scenario {
  name: string
  about: string
  /** Runs with `--all` or by its name only. */
  slow?: boolean
  run(lab: Lab): Promise<void>
}

/** What a scenario works with. Whatever throws ends it as failed. */
export interface Lab {
  /** Does the work, then prints the line with its time. */
  step<T>(text: string, work: () => Promise<T>): Promise<T>
  /** A line of its own, below that of the step in which it is said. */
  note(text: string): void
  /** A guest on a fresh disk, or on one that a scenario changed. */
  start(machine: Machine, disk?: Disk): Promise<Guest>
  /** A disk of one's own, to be changed on this machine without a guest. */
  disk(contents: Contents, packages?: readonly string[]): Promise<Disk>
  /**
   * What `COMMAND --capture` writes on a machine with these devices, started directly from its own fresh disk, and what
   * `COMMAND --json` says there. Cached. A guest that already runs so is asked instead of one of its own.
   */
  capture(machine: Machine, command: string, running?: Guest): Promise<Capture>
  /** What bind-vfio --predict said of the last boot by a loader before it; undefined when the scripts cannot say it. */
  foreseen(): ForeseenBoot | undefined
  /** Runs a command of this machine; the scripts under test are on its PATH. */
  host(command: string): Promise<Outcome>
}

export interface Capture {
  /** For `--machine`. */
  folder: string
  said: string
}

export interface Disk {
  /** What it was copied from. */
  images: Images
  /** Runs a bash script as disk.ts's `withDisk` does: $ROOT, $KERNEL, in_root; the scripts under test on the PATH. */
  apply(text: string, script: string, env?: Record<string, string>): Promise<Outcome>
  /** As `apply`, whatever the exit code. */
  attempt(text: string, script: string, env?: Record<string, string>): Promise<Outcome>
  file: string
}

export interface LabOptions {
  /** For disks and guests; removed with the scenario. */
  folder: string
  /** Console logs go here. */
  logs: string
  /** The built scripts under test. */
  scripts: readonly string[]
  say: Say
  /** The boots by a loader are added to it. */
  foresight: Foresight
  /** Hears of each guest; the last one is what `--keep` shows. */
  started(guest: Guest): void
}

export function openLab(options: LabOptions): Lab {
  const { folder, say, scripts } = options
  let count = 0
  let logs = 0
  const newFolder = (kind: string) => {
    const path = join(folder, `${kind}-${++count}`)
    mkdirSync(path)
    return path
  }
  const notes: string[] = []
  let steps = 0
  const seconds = (since: number) => `${((Date.now() - since) / 1000).toFixed(1).padStart(6)} s`
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const file of scripts) {
    symlinkSync(file, join(bin, file.replace(/^.*\//, '').replace(/\.mjs$/, '')))
  }
  const users = new Map<string, Guest>()
  const path = { PATH: `${bin}:${process.env.PATH}` }

  const step = async <T>(text: string, work: () => Promise<T>, detail = () => ''): Promise<T> => {
    const began = Date.now()
    steps++
    const timer = setInterval(() => say(`${seconds(began)}  … ${text} ${detail()}`.trimEnd()), 15_000)
    try {
      const value = await work()
      say(`${seconds(began)}  ${text}`)
      return value
    } catch (error) {
      say(`${seconds(began)}  FAILED ${text}`)
      throw error
    } finally {
      steps--
      clearInterval(timer)
      for (const line of notes.splice(0)) say(line)
    }
  }

  const note = (text: string) => {
    const line = `${' '.repeat(10)}${text}`
    if (steps > 0) notes.push(line)
    else say(line)
  }

  let foreseen: ForeseenBoot | undefined
  /** Before a boot from this disk: who will have each device? After it: was that so? */
  const foresee = async (machine: Machine, attached: Attached) => {
    const { folder: CAPTURE } = await capture(machine, machine.networkFunctions ? 'list-iommu --sriov' : 'list-iommu')
    const command = 'bind-vfio --predict --root "$ROOT" --machine "$CAPTURE" --json'
    const boot = readForesight(await tryWithDisk({ ...attached, env: { ...attached.env, CAPTURE } }, command))
    foreseen = boot ?? undefined
    return async (guest: Pick<Guest, 'run'>) => {
      if (boot === null) return note('no prediction: these scripts have no --predict')
      const looked = await guest.run(lookAtDrivers)
      expectCode('looking at the drivers', looked, 0)
      const result = heldAgainst(boot, looked.stdout)
      note(foresightLine(result))
      for (const fault of result.faults) note(`  ${fault}`)
      addForesight(options.foresight, result)
    }
  }

  const start = async (machine: Machine, disk?: Disk): Promise<Guest> => {
    const made = disk?.images ?? (await images('initramfs-tools', say))
    const home = newFolder('guest')
    await fillFolder(home, made, disk)
    const attached = { disk: join(home, 'disk'), kernel: made.kernel, mount: join(folder, 'root'), env: path }
    const booting = async (next: Machine) => (next.boot === 'direct' ? async () => {} : foresee(next, attached))
    const command = (next: Machine) => qemuCommand(next, say)
    await command(machine) // makes what is not there yet, outside the boot's time
    const log = join(options.logs, `${++logs}-${machineName(machine)}.log`)
    const guest = await step(
      `${machineName(machine)} booted`,
      () => startGuest({ machine, folder: home, log, scripts, command, booting }),
      () => (existsSync(log) ? lastLines(readFileSync(log, 'latin1'), 1).trim().slice(0, 90) : ''),
    )
    options.started(guest)
    if (disk !== undefined) users.set(disk.file, guest)
    return guest
  }

  const fillFolder = async (home: string, made: Images, disk: Disk | undefined) => {
    for (const file of ['vmlinux', 'initrd']) symlinkSync(join(made.folder, file), join(home, file))
    if (disk !== undefined) symlinkSync(disk.file, join(home, 'disk'))
    else await copyDisk(made.disk, join(home, 'disk'))
  }

  const disk = async (contents: Contents, more: readonly string[] = []): Promise<Disk> => {
    const made = await images(contents, say, more)
    const file = join(newFolder('disk'), 'disk.img')
    await step(`a copy of the ${contents} disk`, () => copyDisk(made.disk, file))
    const attached = (env: Record<string, string> = {}) => {
      if (users.get(file)?.running()) throw new LabError('a guest still runs from this disk: end it first')
      return { disk: file, kernel: made.kernel, mount: join(folder, 'root'), env: { ...path, ...env } }
    }
    return {
      images: made,
      file,
      apply: (text, script, env) => step(`${text}, on the disk`, async () => withDisk(attached(env), script)),
      attempt: (text, script, env) => step(`${text}, on the disk`, async () => tryWithDisk(attached(env), script)),
    }
  }

  const capture: Lab['capture'] = async ({ iommu, moved, displays, networkFunctions }, command, running) => {
    // No more than what decides which devices there are: one capture serves each memory, processor count and loader.
    const machine: Machine = {
      ...{ iommu, boot: 'direct' },
      ...(moved && { moved }),
      ...(displays && { displays }),
      ...(networkFunctions && { networkFunctions }),
    }
    const made = await images('initramfs-tools', say)
    const recipe = [made.folder, qemuArguments(machine), command, scripts.map((file) => readFileSync(file, 'utf8'))]
    const folder = await cached(`capture-${machineName(machine)}`, recipe, say, async (part) => {
      const guest = running ?? (await start(machine))
      const script = `${command} --json >out/said; ${command} --capture out/machine >out/talk`
      const result = await step(`${command} --capture`, () => guest.run(script, { seconds: 600 }))
      if (result.code > 1) throw new LabError(`${command} --capture: ${result.code}\n${lastLines(result.stderr, 5)}`)
      for (const name of ['machine', 'said']) {
        cpSync(join(result.files, name), join(part, name), { recursive: true, verbatimSymlinks: true })
      }
      if (running === undefined) await guest.end()
    })
    return { folder: join(folder, 'machine'), said: readFileSync(join(folder, 'said'), 'utf8') }
  }

  return {
    step,
    start,
    disk,
    capture,
    note,
    foreseen: () => foreseen,
    host: (command) => run(['bash', '-c', command], { env: path }),
  }
}
