// Injects faults into what a run and the programs that it starts write: each call is not made once (or from there on),
// or the process ends at it, and the next runs have to make the best of it.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { freshSystem, LEFTOVER } from './crash-systems.ts'
import { scratchDir } from './machine.ts'
import { needs, scatter, WHOLE } from './needs.ts'
import { has, PROJECT, type Ran, runProgram, runScript } from './run.ts'
import { snapshotOf } from './system.ts'

/** All with which Node and the programs write; `openat` counts where it may create or change a file. */
const WRITES =
  'openat,open,write,pwrite64,writev,pwritev,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,fsync,fdatasync,syncfs,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,copy_file_range,sendfile,setxattr,fsetxattr,utimensat'

/** All points (npm run crash), or so many of each run: other ones each time, or those of VFIO_TEST_SEED. */
const ALL = process.env.VFIO_TEST_CRASH === 'all'
const SAMPLE = WHOLE ? 8 : 1

/** What happens instead of a call, as strace(1) says it; `+`: instead of all that follow too. */
const FAULTS = [
  'error=EIO:signal=KILL',
  'error=EIO',
  'error=ENOSPC',
  'error=ENOSPC+',
  'error=EROFS',
  'error=EROFS+',
] as const
type Fault = (typeof FAULTS)[number]

function stateOf(dir: string): string {
  const all = ['etc', 'boot', 'efi'].filter((folder) => runProgram('test', ['-e', join(dir, folder)]).code === 0)
  const lines = all.flatMap((folder) => snapshotOf(join(dir, folder)).split('\n'))
  return lines.filter((line) => !LEFTOVER.test(line)).join('\n')
}

/** The Nth call of that name, of whichever process makes so many. */
interface Point {
  call: string
  nth: number
  text: string
}

interface Ended {
  code: number | null
  signal: string | null
  text: string
}

/** After `seconds` it and all that it started are killed. */
function run(program: string, args: readonly string[], seconds: number): Promise<Ended> {
  return new Promise((settle, fail) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const timer = setTimeout(() => process.kill(-(child.pid ?? 0), 'SIGKILL'), seconds * 1000)
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (part) => (text += String(part)))
    child.on('error', fail)
    child.on('exit', (code, signal) => {
      clearTimeout(timer)
      // What it left running holds its pipes open.
      setTimeout(() => settle({ code, signal, text }), signal === null ? 0 : 20)
    })
  })
}

interface Work {
  script: string
  args: readonly string[]
}

const argv = (dir: string, { script, args }: Work): string[] => [
  process.execPath,
  `${PROJECT}scripts/${script}.mjs`,
  ...['--root', dir, ...args],
]
const here = (dir: string, { script, args }: Work): Ran => runScript(script, ['--root', dir, ...args])

function copyOf(dir: string): string {
  const copy = scratchDir('copy')
  const { code, stderr } = runProgram('cp', ['-a', `${dir}/.`, copy])
  expect(code, stderr).toBe(0)
  return copy
}

/** Every writing call of a run and of the programs that it starts, from the first that changes the system on. */
async function pointsOf(dir: string, work: Work): Promise<Point[]> {
  const copy = copyOf(dir)
  const log = join(scratchDir('trace'), 'log')
  const trace = ['-f', '-y', '-s', '0', '-o', log, '-e', `trace=execve,${WRITES}`]
  const { code, text } = await run('strace', [...trace, ...argv(copy, work)], 60)
  expect(code, text).toBe(0)
  const counts = new Map<string, number>()
  const points = new Map<string, Point>()
  let node: string | undefined
  const programs = new Set<string>()
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    const [, pid = '', call = ''] = /^(\d+) +(\w+)\(/.exec(line) ?? []
    node ??= pid
    if (call === 'execve' && pid !== node) programs.add(pid)
    if (call === '' || call === 'execve') continue
    const nth = (counts.get(`${pid} ${call}`) ?? 0) + 1
    counts.set(`${pid} ${call}`, nth)
    const reads = /^open/.test(call) && !/O_WRONLY|O_RDWR|O_CREAT/.test(line)
    const ours = line.includes(copy) || (programs.has(pid) && !/pipe:|socket:|\/dev\//.test(line))
    if (!reads && ours) points.set(`${call} ${nth}`, { call, nth, text: line.replaceAll(copy, '').slice(0, 200) })
  }
  return [...points.values()]
}

const counted = { points: 0, tried: 0, missed: 0, violations: 0 }

/** Tries each point with each fault, or a sample: `before` is the system, `after` what the run makes of it. */
async function tryAll(
  dir: string,
  work: Work,
  states: States,
  next: (dir: string, turn: number) => void,
): Promise<void> {
  const all = (await pointsOf(dir, work)).flatMap((point) => FAULTS.map((fault) => ({ point, fault })))
  counted.points += all.length
  const seed = Number(process.env.VFIO_TEST_SEED ?? 1)
  const sample = all
    .map((one, index) => ({ one, key: scatter(seed + index) }))
    .sort((one, other) => one.key - other.key)
    .slice(0, SAMPLE)
  // What says that all of it happened is there, and what makes it durable fails, as all that takes it back does.
  const fsyncs = all.filter(({ point, fault }) => point.call === 'fsync' && fault === 'error=ENOSPC+')
  const said = fsyncs[fsyncs.findIndex(({ point }) => point.text.includes('/.done.')) + 1]
  const rest = ALL ? all : [...sample.map(({ one }) => one), ...(said === undefined ? [] : [said])]
  expect(all.length).toBeGreaterThan(100)
  const violations: string[] = []
  const task = async (): Promise<void> => {
    for (let one = rest.shift(); one !== undefined; one = rest.shift()) {
      const { call, nth, text } = one.point
      const copy = copyOf(dir)
      const turn = one === said ? 0 : counted.tried + 1
      await tryOne(copy, work, one.point, one.fault, states, (dir) => next(dir, turn)).catch((error: Error) => {
        const where = `${one.fault} at the ${nth}. ${call}: ${text} (VFIO_TEST_SEED=${seed})`
        console.log(where)
        violations.push(`${where}\n${error.message.slice(0, 4000)}`)
      })
      runProgram('rm', ['-rf', copy])
    }
  }
  await Promise.all([task(), task()])
  counted.violations += violations.length
  expect(violations.join('\n\n')).toBe('')
}

/** Of the system: `fresh`, nothing is set up in it. */
type States = Record<'before' | 'after' | 'fresh', string>

async function tryOne(
  copy: string,
  work: Work,
  { call, nth }: Point,
  fault: Fault,
  { before, after, fresh }: States,
  next: (dir: string) => void,
): Promise<void> {
  const inject = `inject=${call}:${fault.replace('+', '')}:when=${nth}${fault.endsWith('+') ? '+' : ''}`
  const trace = ['-f', '-o', '/dev/null', '-e', `trace=${call}`, '-e', inject]
  const { code, signal, text } = await run('strace', [...trace, ...argv(copy, work)], 20)
  counted.tried++
  // A stack trace is never for a person; one without us in it is Node's, which could not start.
  expect(text).not.toMatch(/^\s+at .*\/scripts\/[\w-]+\.mjs:\d+/m)
  // Node itself, which then says what it could not open.
  const started = code !== 127 && !/^\s+at |^\/\S*node: |OpenSSL configuration error/m.test(text)
  if (signal === null && started) {
    const now = stateOf(copy)
    if (code === 0) expect(now, text).toBe(after)
    // What could not be taken back is said, and taken back by the next run.
    else if (!/could not all be taken back|cut short/.test(text)) {
      // What was done cannot fail any more by what cannot be told.
      expect(now, text).toBe(/standard output: cannot be written/.test(text) && now === after ? after : before)
      expect(text).toMatch(/^[a-z-]+: /m)
    }
  } else if (!started || !fault.includes('KILL')) counted.missed++
  const now = stateOf(copy)
  const status = here(copy, { script: work.script, args: ['--status'] }).stdout
  if (now !== before && now !== after) expect(status).toMatch(/was cut short/)
  if (now !== fresh) expect(status).not.toMatch(/nothing is set up/)
  next(copy)
}

const traces =
  has('strace') &&
  has('busybox') &&
  process.getuid?.() === 0 &&
  runProgram('strace', ['-o', '/dev/null', 'true']).code === 0 &&
  runProgram('ldd', ['/usr/bin/busybox']).code !== 0

/** The tests of one of the systems. */
export function crashesOn(name: string): void {
  needs('root, strace and a busybox that stands alone', traces).describe(`a fault on ${name}`, () => {
    const bind: Work = { script: 'bind-vfio', args: ['02:00', '--apply'] }
    const unbind: Work = { script: 'bind-vfio', args: ['--undo', '--apply'] }
    const tune: Work = { script: 'tune-host', args: ['--hugepages', '2G', '--page-size', '1G', '--apply'] }
    const untune: Work = { script: 'tune-host', args: ['--undo', '--apply'] }
    const later: Work = { ...tune, args: [...tune.args, '--boot-files-later'] }
    let fresh = ''
    let [bound, tuned, owing] = ['', '', '']
    const succeed = (dir: string, work: Work): void => {
      const { code, stderr } = here(dir, work)
      expect(code, stderr).toBe(0)
    }

    beforeAll(() => {
      fresh = freshSystem(name)
      bound = copyOf(fresh)
      succeed(bound, bind)
      tuned = copyOf(fresh)
      succeed(tuned, tune)
      owing = copyOf(fresh)
      succeed(owing, later)
    })
    afterAll(() => {
      const { points, tried, missed, violations } = counted
      const seed = ALL ? '' : `; VFIO_TEST_SEED=${process.env.VFIO_TEST_SEED ?? 1} tries the same, npm run crash all`
      console.log(
        `faults on ${name}: ${tried} of ${points} tried, ${violations} violations${missed > 0 ? `, ${missed} of them ended Node` : ''}${seed}`,
      )
    })

    /** After it another run of the same comes to its end, or what takes it back does, or both: one of them a point. */
    const then = (on: Work, off: Work, states: () => States) => (dir: string, turn: number) => {
      if (turn % 3 > 0) {
        succeed(dir, off)
        expect(stateOf(dir)).toBe(states().before)
      }
      if (turn % 3 < 2) {
        succeed(dir, on)
        expect(stateOf(dir)).toBe(states().after)
      }
    }

    it.each<[string, () => string, Work, Work, () => string]>([
      ['bind-vfio --apply', () => fresh, bind, unbind, () => bound],
      ['bind-vfio --undo --apply', () => bound, unbind, bind, () => fresh],
      ['tune-host --apply', () => fresh, tune, untune, () => tuned],
      ['tune-host --apply --boot-files-later', () => fresh, later, untune, () => owing],
      ['tune-host --undo --apply', () => tuned, untune, tune, () => fresh],
    ])(
      '%s: all or nothing, and the next run is not kept from its work',
      async (_, from, work, back, to) => {
        const states = { before: stateOf(from()), after: stateOf(to()), fresh: stateOf(fresh) }
        expect(states.before).not.toBe(states.after)
        await tryAll(
          from(),
          work,
          states,
          then(work, back, () => states),
        )
      },
      ALL ? 7_200_000 : 120_000,
    )
  })
}
