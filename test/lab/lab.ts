// npm run lab: boots emulated machines and runs the built scripts in them. See README.md.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cacheFolder, removeScratch, removeUnused, scratch } from './cache.ts'
import { addForesight, type Foresight, foresightLine, noForesight } from './foresight.ts'
import type { Guest } from './guest.ts'
import { installPackages, missingPackages } from './packages.ts'
import { openLab, type Scenario } from './scenario.ts'
import { scenarios } from './scenarios/index.ts'
import { LabError, must, stopAll } from './shell.ts'

const width = Math.max(...scenarios.map(({ name }) => name.length))
const usage = 'usage: npm run lab -- [--list] [--install] [--all] [--keep] [--scripts DIR] [NAME…]'

interface Report {
  scenario: Scenario
  seconds: number
  failure: string | undefined
  foresight: Foresight
}

async function main(): Promise<number> {
  const { values, positionals } = readArguments()
  if (values.list) {
    for (const { name, about, slow } of scenarios)
      console.log(`${name.padEnd(width)}  ${about}${slow ? ' (slow)' : ''}`)
    return 0
  }
  const chosen = choose(positionals, values.all)
  if (values.keep && chosen.length !== 1) throw new LabError('--keep takes the name of one scenario')
  if (process.getuid?.() !== 0)
    throw new LabError('the lab needs root: it mounts disk images in a namespace of its own')

  const missing = await missingPackages()
  if (missing.length > 0 && !values.install) {
    throw new LabError(
      `the lab was not run: missing Debian packages: ${missing.join(' ')} (npm run lab -- --install gets them)`,
    )
  }
  if (missing.length > 0) {
    console.log(`installing ${missing.join(' ')}`)
    await installPackages(missing)
  }
  if (values.scripts === undefined) await must([process.execPath, 'build.mjs'])
  const folder = resolve(values.scripts ?? 'scripts')
  const names = existsSync(folder) ? readdirSync(folder).filter((name) => /^[\w-]+\.mjs$/.test(name)) : []
  if (names.length === 0) throw new LabError(`no built scripts in ${folder}`)
  const scripts = names.map((name) => join(folder, name))

  removeScratch()
  removeUnused()
  const jobs = values.keep ? 1 : parallelGuests()
  console.log(`${chosen.length} scenarios, ${jobs} at a time; cache and console logs in ${cacheFolder}`)
  const began = Date.now()
  const waiting = [...chosen]
  const reports: Report[] = []
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      reports.push(await perform(next, scripts, values.keep))
    }
  }
  await Promise.all(Array.from({ length: jobs }, work))
  return conclude(chosen, reports, (Date.now() - began) / 1000)
}

function readArguments() {
  const flag = { type: 'boolean', default: false } as const
  try {
    return parseArgs({
      options: { list: flag, install: flag, all: flag, keep: flag, scripts: { type: 'string' } },
      allowPositionals: true,
    })
  } catch (error) {
    throw new LabError(`${(error as Error).message.split(/\n|\. /)[0]}; ${usage}`)
  }
}

function choose(names: readonly string[], all: boolean): Scenario[] {
  const unknown = names.filter((name) => !scenarios.some((scenario) => scenario.name === name))
  if (unknown.length > 0)
    throw new LabError(`no scenario is called ${unknown.join(', ')} (--list names them); ${usage}`)
  if (names.length > 0) return names.flatMap((name) => scenarios.find((scenario) => scenario.name === name) ?? [])
  return scenarios.filter(({ slow }) => all || !slow)
}

/** Two, where there are as many processors and 1.5 GiB for each. */
function parallelGuests(): number {
  const available =
    Number(/^MemAvailable: +(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1] ?? 0) / 1024 ** 2
  return Math.max(1, Math.min(2, availableParallelism(), Math.floor(available / 1.5)))
}

async function perform(scenario: Scenario, scripts: readonly string[], keep: boolean): Promise<Report> {
  const say = (line: string) => console.log(`${scenario.name.padEnd(width)} ${line}`)
  const logs = join(cacheFolder, 'logs', scenario.name)
  rmSync(logs, { recursive: true, force: true })
  mkdirSync(logs, { recursive: true })
  const folder = scratch(scenario.name)
  const guests: Guest[] = []
  const foresight = noForesight()
  const began = Date.now()
  let failure: string | undefined
  try {
    await scenario.run(openLab({ folder, logs, scripts, say, foresight, started: (guest) => guests.push(guest) }))
    if (foresight.faults.length > 0) throw new LabError(`the prediction was wrong: ${foresight.faults.join('\n    ')}`)
  } catch (error) {
    failure = error instanceof LabError ? error.message : String((error as Error).stack)
    say(`${failure}\n    consoles: ${logs}`)
  }
  const seconds = (Date.now() - began) / 1000
  const last = guests.pop()
  if (keep && last !== undefined) {
    say('a shell in the guest; exit ends it')
    await last.shell().catch((error: Error) => say(error.message))
  }
  for (const guest of [...guests, ...(keep || last === undefined ? [] : [last])]) {
    await guest.end().catch((error: Error) => {
      failure ??= error.message
      say(error.message)
    })
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  return { scenario, seconds, failure, foresight }
}

function conclude(chosen: readonly Scenario[], reports: readonly Report[], seconds: number): number {
  console.log()
  for (const scenario of chosen) {
    const report = reports.find((one) => one.scenario === scenario)
    const failure = report?.failure?.split('\n')[0]?.slice(0, 120)
    const verdict = failure === undefined ? 'passed' : 'FAILED'
    console.log(
      `${verdict}  ${(report?.seconds ?? 0).toFixed(0).padStart(4)} s  ${scenario.name.padEnd(width)} ${failure ?? ''}`.trimEnd(),
    )
  }
  const foresight = noForesight()
  for (const report of reports) addForesight(foresight, report.foresight)
  if (foresight.boots > 0) console.log(`${foresight.boots} boots by a loader; ${foresightLine(foresight)}`)
  const failed = reports.filter(({ failure }) => failure !== undefined).length
  console.log(`${failed === 0 ? 'all passed' : `${failed} of ${chosen.length} failed`}, ${seconds.toFixed(0)} s`)
  return failed === 0 ? 0 : 1
}

let leaving = false

/** Whatever ends the lab ends its guests too. */
async function leave(code: number): Promise<void> {
  if (leaving) return
  leaving = true
  await stopAll()
  removeScratch()
  const bundle = dirname(fileURLToPath(import.meta.url)) // build.mjs removes it, unless the signal ended that first
  if (basename(bundle).startsWith('.run-')) rmSync(bundle, { recursive: true, force: true })
  process.exit(code)
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => leave(code))
}
const parent = process.ppid
setInterval(() => process.ppid === parent || leave(143), 1000).unref()

try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof LabError)) throw error
  console.error(`lab: ${error.message}`)
  process.exitCode = 2
}
await leave(Number(process.exitCode))
