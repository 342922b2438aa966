// Kills bind-vfio before each system call with which it writes, and looks at what the next run makes of that.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { scratchDir } from './machine.ts'
import { has, PROJECT, runProgram } from './run.ts'
import { snapshotOf, systemDir } from './system.ts'

/** All with which Node writes, and some more; `openat` counts where it may create or change a file. */
const WRITES =
  'openat,write,pwrite64,writev,pwritev,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,fsync,fdatasync,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,copy_file_range,sendfile,setxattr,fsetxattr,utimensat'
const SCRIPT = `${PROJECT}scripts/bind-vfio.mjs`
const JOURNAL = 'var/lib/vfio-scripts'
const APPLY = ['02:00', '--apply', '--no-commands']
const UNDO = ['--undo', '--apply', '--no-commands']
const AT_ONCE = 3

/** The Nth call of that name. */
interface Point {
  call: string
  nth: number
  text: string
}

const traces = has('strace') && runProgram('strace', ['-o', '/dev/null', 'true']).code === 0
if (!traces) console.log('crash: not tested: strace is not here, or may not trace')

/** A new file, a file in a folder that is new too, and one of the person's that is edited. */
function freshSystem(): string {
  return systemDir({
    machine: 'i9-14900k-vmd',
    iommuByDefault: false,
    files: { 'usr/sbin/grub-mkconfig': '#!/bin/sh\n' },
  })
}

interface Ended {
  code: number | null
  signal: string | null
  text: string
}

/** `seconds`: after that it and all that it started are killed. */
function run(program: string, args: readonly string[], seconds?: number): Promise<Ended> {
  return new Promise((settle, fail) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: seconds !== undefined })
    if (seconds !== undefined) {
      const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), seconds * 1000)
      child.on('close', () => clearTimeout(timer))
    }
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (text += String(part)))
    child.on('error', fail)
    child.on('close', (code, signal) => settle({ code, signal, text }))
  })
}

const script = (dir: string, args: readonly string[]): Promise<Ended> =>
  run(process.execPath, [SCRIPT, '--root', dir, ...args])

async function succeed(dir: string, args: readonly string[]): Promise<string> {
  const { code, text } = await script(dir, args)
  expect(code, text).toBe(0)
  return text
}

function copyOf(dir: string): string {
  const copy = scratchDir('copy')
  const { code, stderr } = runProgram('cp', ['-a', `${dir}/.`, copy])
  expect(code, stderr).toBe(0)
  return copy
}

/** Every writing call of a run, from the first that changes the system on. Only the script's own thread is traced. */
async function pointsOf(dir: string, args: readonly string[]): Promise<Point[]> {
  const copy = copyOf(dir)
  const log = join(scratchDir('trace'), 'log')
  const all = ['-y', '-s', '0', '-o', log, '-e', `trace=${WRITES}`, process.execPath, SCRIPT, '--root', copy, ...args]
  const { code, text } = await run('strace', all)
  expect(code, text).toBe(0)
  const counts = new Map<string, number>()
  const points: Point[] = []
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    const call = /^(\w+)\(/.exec(line)?.[1]
    if (call === undefined) continue
    const nth = (counts.get(call) ?? 0) + 1
    counts.set(call, nth)
    const reads = call === 'openat' && !/O_WRONLY|O_RDWR|O_CREAT/.test(line)
    if (!reads && line.includes(copy)) points.push({ call, nth, text: line.replaceAll(copy, '') })
  }
  return points
}

/** Runs it on a copy of the system, with something else in the place of that call, which is not made. */
async function inject(
  dir: string,
  args: readonly string[],
  { call, nth }: Point,
  what: string,
): Promise<[string, Ended]> {
  const copy = copyOf(dir)
  const argv = ['-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:${what}:when=${nth}`]
  return [copy, await run('strace', [...argv, process.execPath, SCRIPT, '--root', copy, ...args], 10)]
}

/**
 * A copy of the system after a run that was killed before that call; what is killed before the next was killed after
 * this one.
 */
async function killedAt(dir: string, args: readonly string[], point: Point): Promise<string> {
  const [copy, { signal, text }] = await inject(dir, args, point, 'error=EIO:signal=KILL')
  expect(signal, text).toBe('SIGKILL')
  return copy
}

/** Each file below etc is just what it was before or will be afterwards; what is left over no program reads. */
function expectWhole(dir: string, states: readonly string[]): void {
  const known = new Set(states.flatMap((state) => state.split('\n')))
  const odd = snapshotOf(join(dir, 'etc'))
    .split('\n')
    .filter((line) => !known.has(line) && !/^\/(\S+\/)?\.[^/ ]+\.vfio-scripts~ /.test(line))
  expect(odd).toEqual([])
}

/** Complete entries, and nothing else. */
function expectJournal(dir: string, entries: number): void {
  const names = readdirSync(join(dir, JOURNAL))
  expect(names).toEqual(Array.from({ length: entries }, (_, index) => String(index + 1).padStart(4, '0')))
  for (const name of names) {
    const inside = readdirSync(join(dir, JOURNAL, name))
    expect(inside.filter((one) => one !== 'before')).toEqual(['done', 'entry.json', 'undo.sh'])
  }
}

async function forEach(points: readonly Point[], check: (point: Point) => Promise<void>): Promise<void> {
  const rest = [...points]
  const work = async (): Promise<void> => {
    for (let point = rest.shift(); point !== undefined; point = rest.shift()) {
      const { text } = point
      await check(point).catch((error) => {
        error.message = `at ${text}\n${error.message}`
        throw error
      })
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
}

describe.runIf(traces)('a run that is killed', () => {
  const none = freshSystem()
  const set = copyOf(none)
  const etc = (dir: string): string => snapshotOf(join(dir, 'etc'))
  /** How many entries there are. */
  const count = (dir: string): number =>
    readdirSync(join(dir, 'var/lib')).includes('vfio-scripts') ? readdirSync(join(dir, JOURNAL)).length : 0

  beforeAll(async () => {
    await succeed(set, APPLY)
  })

  it('while it applies is finished by the next apply, or taken back by the next undo', async () => {
    const points = await pointsOf(none, APPLY)
    expect(points.length).toBeGreaterThan(40)
    await forEach(points, async (point) => {
      const dir = await killedAt(none, APPLY, point)
      expectWhole(dir, [etc(none), etc(set)])
      const other = copyOf(dir)
      await succeed(dir, APPLY)
      expect(etc(dir)).toBe(etc(set))
      expectJournal(dir, 1)
      await succeed(other, UNDO)
      expect(etc(other)).toBe(etc(none))
      if (count(other) > 0) expectJournal(other, count(other))
    })
    console.log(`crash: apply was killed at ${points.length} points`)
  }, 240_000)

  it('while it undoes is finished by the next undo, or taken back by the next apply', async () => {
    const points = await pointsOf(set, UNDO)
    expect(points.length).toBeGreaterThan(30)
    await forEach(points, async (point) => {
      const dir = await killedAt(set, UNDO, point)
      expectWhole(dir, [etc(none), etc(set)])
      const other = copyOf(dir)
      await succeed(dir, UNDO)
      expect(etc(dir)).toBe(etc(none))
      expectJournal(dir, 2)
      await succeed(other, APPLY)
      expect(etc(other)).toBe(etc(set))
      expectJournal(other, count(other))
      await succeed(other, UNDO)
      expect(etc(other)).toBe(etc(none))
    })
    console.log(`crash: undo was killed at ${points.length} points`)
  }, 240_000)

  it('while it takes back a run that was killed is finished by the next', async () => {
    const [last] = (await pointsOf(none, APPLY)).filter(({ text }) => /rename.*\/done"/.test(text))
    expect(last).toBeDefined()
    const broken = await killedAt(none, APPLY, last as Point)
    const points = await pointsOf(broken, UNDO)
    expect(points.length).toBeGreaterThan(20)
    await forEach(points, async (point) => {
      const dir = await killedAt(broken, UNDO, point)
      expectWhole(dir, [etc(none), etc(set)])
      await succeed(dir, UNDO)
      expect(etc(dir)).toBe(etc(none))
      expect(readdirSync(join(dir, JOURNAL))).toEqual([])
      await succeed(dir, APPLY)
      expect(etc(dir)).toBe(etc(set))
    })
    console.log(`crash: taking back was killed at ${points.length} points`)
  }, 240_000)

  it.each(['ENOSPC', 'EIO'])(
    'or whose calls fail with %s puts everything back, and says so',
    async (error) => {
      const points = await pointsOf(none, APPLY)
      let missed = 0
      await forEach(points, async (point) => {
        let [dir, { code, signal, text }] = await inject(none, APPLY, point, `error=${error}`)
        // Node wakes itself by writing, not always as often, and gives up or waits when it cannot: not our call.
        for (let more = 3; signal !== null && more > 0; more--)
          [dir, { code, signal, text }] = await inject(none, APPLY, point, `error=${error}`)
        if (signal !== null) {
          missed++
          return
        }
        expect(text).not.toMatch(/^\s+at /m)
        // What was done cannot fail any more by what is tidied up.
        const done = code === 0 || /standard output: cannot be written/.test(text)
        expect(etc(dir), text).toBe(etc(done ? set : none))
        if (!done) expect(text).toMatch(/^bind-vfio: .*cannot be written \(E\w+\)/m)
        const told = text.includes('could not all be taken back')
        if (!done && !told && count(dir) > 0) expect(readdirSync(join(dir, JOURNAL))).toEqual([])
        await succeed(dir, APPLY)
        expect(etc(dir)).toBe(etc(set))
        expectJournal(dir, 1)
      })
      expect(missed).toBeLessThan(6)
      console.log(`crash: each of ${points.length - missed} calls failed with ${error}`)
    },
    240_000,
  )
})
