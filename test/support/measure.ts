// What the bench measures with: runs that alternate, medians of rounds, and the table of their ratios.
import { spawnSync } from 'node:child_process'

export interface Run {
  name: string
  command: string
  args: string[]
  /** how often it runs in each round; the slow ones less often */
  times: number
  /** how many devices its output shows; not given: it is not counted */
  count?: (stdout: string) => number
  /** its exit codes [0] */
  codes?: readonly number[]
}

export interface Row {
  devices: number
  what: string
  median: string
  ratio: string
  wanted: string
  ok?: boolean
}

const ROUNDS = 3

/** Milliseconds; the output is read, as by a pipe. */
export function timed(run: Run): { ms: number; stdout: string; stderr: string } {
  const start = process.hrtime.bigint()
  const { status, stdout, stderr, error } = spawnSync(run.command, run.args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  const ms = Number(process.hrtime.bigint() - start) / 1e6
  if (error !== undefined) throw error
  if (!(run.codes ?? [0]).includes(status ?? -1))
    throw new Error(`${run.name} ended with ${status}: ${stderr.slice(0, 500)}`)
  return { ms, stdout, stderr }
}

/** The median of each round, by run. */
export type Times = Map<string, number[]>

/** Each runs once to warm the caches and to show every device, then all alternate. */
export function measure(runs: Run[], devices: number): Times {
  for (const run of runs) {
    const shown = run.count?.(timed(run).stdout) ?? devices
    if (shown !== devices) throw new Error(`${run.name} shows ${shown} of ${devices} devices`)
  }
  const medians: Times = new Map(runs.map((run) => [run.name, []]))
  for (let round = 0; round < ROUNDS; round++) {
    const times = new Map<Run, number[]>(runs.map((run) => [run, []]))
    for (let turn = 0; turn < Math.max(...runs.map((run) => run.times)); turn++)
      for (const run of runs) if (turn < run.times) times.get(run)?.push(timed(run).ms)
    for (const [{ name }, values] of times) medians.get(name)?.push(middle(values))
  }
  return medians
}

function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  const high = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : (high + (sorted[half - 1] ?? Number.NaN)) / 2
}

/** A row for each run, and one more for each ratio that is wanted. */
export function rowsOf(devices: number, times: Times, wanted: readonly Wanted[]): Row[] {
  const rows = [...times].map(([what, values]): Row => {
    return { devices, what, median: `${middle(values).toFixed(1)} ms`, ratio: '', wanted: '' }
  })
  for (const [what, bound, other] of wanted) {
    const ours = times.get(what)
    const theirs = times.get(other)
    if (ours === undefined || theirs === undefined) continue
    const ratios = ours.map((ms, round) => ms / (theirs[round] ?? Number.NaN))
    const ratio = middle(ratios)
    const isFaster = bound < 1
    const shown = (one: number): string => (isFaster ? (1 / one).toFixed(1) : one.toFixed(2))
    const [least = 0, most = 0] = [Math.min(...ratios), Math.max(...ratios)]
      .sort(isFaster ? (one, two) => two - one : undefined)
      .map(shown)
    const text = `${shown(ratio)} × ${isFaster ? 'as fast as ' : ''}${other} (${least} … ${most})`
    const limit = isFaster ? `≥ ${Math.round(1 / bound)}` : `≤ ${bound}`
    rows.push({ devices, what: `  ${what}`, median: '', ratio: text, wanted: limit, ok: ratio <= bound })
  }
  return rows
}

/** What is measured, at most how many times as long it takes, and as what. */
export type Wanted = readonly [what: string, bound: number, other: string]

export function show(rows: Row[]): void {
  const cells = rows.map((row) => [
    String(row.devices),
    row.what,
    row.median,
    row.ratio,
    row.wanted,
    row.ok === undefined ? '' : row.ok ? 'yes' : 'NO',
  ])
  const table = [['devices', 'what', 'median', 'ratio', 'wanted', 'ok'], ...cells]
  const widths = [0, 1, 2, 3, 4, 5].map((column) => Math.max(...table.map((line) => line[column]?.length ?? 0)))
  for (const line of table) {
    const padded = line.map((cell, at) =>
      at === 0 || at === 2 ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0),
    )
    console.log(padded.join('  ').trimEnd())
  }
}
