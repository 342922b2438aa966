// npm run bench [-- PART…]: how long the scripts take, against bare node, lspci, lshw, driverctl and the guides' loop, in
// one run. A PART is a number of devices or `system` (plans, check-host and the runbook on a whole system) [all of them].
// The runs of one size alternate, so that whatever else the machine does hits all of them. That is done in three rounds:
// a ratio is the median of the three rounds' ratios of medians, so that noise in one of them does not decide.
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { manyAliases, manyNames } from './fake/bulk.ts'
import { generateMachine, loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'
import { systemDir } from './system.ts'

interface Run {
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

interface Row {
  devices: number
  what: string
  median: string
  ratio: string
  wanted: string
  ok?: boolean
}

const ROUNDS = 3
const NODE = 'node -e 0'
const named = (name: string): string => join(process.cwd(), `scripts/${name}.mjs`)
const script = named('list-iommu')
const systemNames = '/usr/share/misc/pci.ids'
const isHere = (...command: string[]): boolean => spawnSync(command[0] ?? '', command.slice(1)).status === 0

function makeTree(devices: number): { tree: string; machine: Machine } {
  const machine = generateMachine(devices)
  const tree = scratchDir(`bench-${devices}`)
  writeMachine(machine, tree)
  writeFileSync(join(tree, `lib/modules/${machine.kernel}/modules.alias`), manyAliases(machine, 20_000))
  const names = join(tree, 'usr/share/misc/pci.ids')
  mkdirSync(join(tree, 'usr/share/misc'), { recursive: true })
  if (existsSync(systemNames)) copyFileSync(systemNames, names)
  else writeFileSync(names, manyNames(machine, 1_400_000))
  return { tree, machine }
}

/** The loop of the guides, with the real lspci on this tree. */
function shellLoop(tree: string, lspci: string[]): string {
  return `for d in $(find '${tree}/sys/kernel/iommu_groups/' -type l | sort -V); do
  n=\${d#*/iommu_groups/*}; n=\${n%%/*}
  printf 'IOMMU Group %s ' "$n"
  ${lspci.map((word) => `'${word}'`).join(' ')} -nns "\${d##*/}" 2>/dev/null || exit 1
done`
}

/** A program that knows no other root, with the tree's sysfs in place of its own. */
function inNamespace(tree: string, ...command: string[]): Pick<Run, 'command' | 'args'> {
  const words = command.map((word) => `'${word}'`).join(' ')
  return { command: 'unshare', args: ['-rm', 'sh', '-c', `mount --rbind '${tree}/sys' /sys && exec ${words}`] }
}

function runsOn(tree: string, devices: number): Run[] {
  const lspci = [
    'lspci',
    '-A',
    'linux-sysfs',
    '-O',
    `sysfs.path=${tree}/sys/bus/pci`,
    '-i',
    `${tree}/usr/share/misc/pci.ids`,
  ]
  const lines = (pattern: RegExp) => (stdout: string) => stdout.match(pattern)?.length ?? 0
  const times = devices > 1000 ? 5 : devices > 100 ? 5 : 15
  const node = { command: process.execPath, times }
  const runs: Run[] = [
    { ...node, name: NODE, args: ['-e', '0'] },
    {
      ...node,
      name: 'list-iommu',
      args: [script, '--root', tree],
      count: lines(/(?<![\w:])(?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7](?![\w:])/g),
    },
    { ...node, name: 'check-reset', args: [named('check-reset'), '--root', tree], codes: [0, 1] },
    {
      name: 'lspci -nnk',
      command: lspci[0] ?? '',
      args: [...lspci.slice(1), '-nnk'],
      times,
      count: lines(/^(?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7] /gm),
    },
  ]
  if (devices > 1000) return runs
  const slow = { times: devices > 100 ? 1 : 3 }
  runs.push({
    ...slow,
    name: 'shell loop',
    command: 'bash',
    args: ['-c', shellLoop(tree, lspci)],
    count: lines(/^IOMMU Group \d+ (?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7] /gm),
  })
  if (!isHere('unshare', '-rm', 'mount', '--rbind', join(tree, 'sys'), '/sys')) return runs
  if (isHere('lshw', '-version'))
    runs.push({ ...slow, name: 'lshw', ...inNamespace(tree, 'lshw', '-quiet', '-businfo') })
  if (isHere('sh', '-c', 'command -v driverctl'))
    runs.push({
      ...slow,
      name: 'driverctl',
      ...inNamespace(tree, 'driverctl', '-v', 'list-devices'),
      count: lines(/^(?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7] /gm),
    })
  return runs
}

/** Milliseconds; the output is read, as by a pipe. */
function timed(run: Run): { ms: number; stdout: string; stderr: string } {
  const start = process.hrtime.bigint()
  const { status, stdout, stderr, error } = spawnSync(run.command, run.args, { encoding: 'utf8', maxBuffer: 2 ** 28 })
  const ms = Number(process.hrtime.bigint() - start) / 1e6
  if (error !== undefined) throw error
  if (!(run.codes ?? [0]).includes(status ?? -1))
    throw new Error(`${run.name} ended with ${status}: ${stderr.slice(0, 500)}`)
  return { ms, stdout, stderr }
}

/** The median of each round, by run. */
type Times = Map<string, number[]>

/** Each runs once to warm the caches and to show every device, then all alternate. */
function measure(runs: Run[], devices: number): Times {
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

/** Peak resident memory of the run, in MB (10^6 bytes): the child tells it at its end. */
function peakMemory(run: Run): number {
  const preload = join(scratchDir('bench-preload'), 'memory.cjs')
  writeFileSync(preload, "process.on('exit', () => console.error('maxRSS=' + process.resourceUsage().maxRSS))\n")
  const { stderr } = timed({ ...run, args: ['--require', preload, ...run.args] })
  return (Number(/maxRSS=(\d+)/.exec(stderr)?.[1]) * 1024) / 1e6
}

/** A row for each run, and one more for each ratio that is wanted. */
function rowsOf(devices: number, times: Times, wanted: readonly Wanted[]): Row[] {
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
    const [least = 0, most = 0] = [Math.min(...ratios), Math.max(...ratios)].map(shown)
    const text = `${shown(ratio)} × ${isFaster ? 'as fast as ' : ''}${other} (${least} … ${most})`
    const limit = isFaster ? `≥ ${Math.round(1 / bound)}` : `≤ ${bound}`
    rows.push({ devices, what: `  ${what}`, median: '', ratio: text, wanted: limit, ok: ratio <= bound })
  }
  return rows
}

/** What is measured, at most how many times as long it takes, and as what. */
type Wanted = readonly [what: string, bound: number, other: string]

const WANTED: Record<number, readonly Wanted[]> = {
  32: [
    ['list-iommu', 1.35, NODE],
    ['list-iommu', 1, 'lshw'],
  ],
  512: [
    ['list-iommu', 2.5, 'lspci -nnk'],
    ['list-iommu', 1 / 3, 'lshw'],
    ['list-iommu', 1 / 90, 'driverctl'],
    ['list-iommu', 1 / 10, 'shell loop'],
    ['check-reset', 1.1, 'list-iommu'],
  ],
  4096: [
    ['list-iommu', 1.25, 'lspci -nnk'],
    ['check-reset', 1.1, 'list-iommu'],
  ],
}
const MEMORY = 100

function rowsFor(devices: number): Row[] {
  const { tree } = makeTree(devices)
  const runs = runsOn(tree, devices)
  const rows = rowsOf(devices, measure(runs, devices), WANTED[devices] ?? [])
  const list = runs.find(({ name }) => name === 'list-iommu')
  if (devices < 1000 || list === undefined) return rows
  const megabytes = peakMemory(list)
  const memory = { devices, what: '  peak memory', median: `${megabytes.toFixed(0)} MB`, ratio: '' }
  return [...rows, { ...memory, wanted: `≤ ${MEMORY} MB`, ok: megabytes <= MEMORY }]
}

/** A plan of bind-vfio for a graphics card, check-host, and the runbook's plan, on a whole system. */
function systemRows(): Row[] {
  const root = systemDir({ machine: 'i9-14900k-vmd', iommuByDefault: false })
  const devices = Object.keys(loadMachine('i9-14900k-vmd').devices).length
  const node = { command: process.execPath, times: 15, codes: [0, 1] }
  const zx = join(process.cwd(), 'node_modules/zx/build/cli.js')
  const page = [zx, join(process.cwd(), 'scripts/setup.md'), '--gpu', '02:00', '--name', 'guest', '--root', root]
  const times = measure(
    [
      { ...node, name: NODE, args: ['-e', '0'] },
      { ...node, name: 'bind-vfio, a plan', args: [named('bind-vfio'), '--root', root, '02:00'] },
      { ...node, name: 'check-host', args: [named('check-host'), '--root', root] },
      { ...node, name: "setup.md's plan", times: 3, args: page, codes: [0, 1, 2] },
    ],
    devices,
  )
  return rowsOf(devices, times, [
    ['bind-vfio, a plan', 1.6, NODE],
    ['check-host', 1.8, NODE],
    // 1.5 s where bare node takes 125 ms.
    ["setup.md's plan", 12, NODE],
  ])
}

function show(rows: Row[]): void {
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

function main(): number {
  if (spawnSync('lspci', ['--version']).status !== 0) {
    console.error('bench: no lspci to compare with: install the package pciutils')
    return 2
  }
  if (!existsSync(script)) {
    console.error('bench: no scripts/list-iommu.mjs: run npm run build')
    return 2
  }
  const [cpu] = cpus()
  console.log(`${cpu?.model.trim()}, ${cpus().length} processors, Linux ${release()}, Node ${process.version}\n`)
  const parts: Record<string, () => Row[]> = { system: systemRows }
  for (const devices of [32, 512, 4096]) parts[devices] = () => rowsFor(devices)
  const given = process.argv.slice(2)
  const unknown = given.find((name) => !Object.hasOwn(parts, name))
  if (unknown !== undefined) {
    console.error(`bench: ${unknown}: no such part; there is ${Object.keys(parts).join(', ')}`)
    return 2
  }
  const rows = (given.length > 0 ? given : Object.keys(parts)).flatMap((name) => parts[name]?.() ?? [])
  show(rows)
  const [load = 0] = loadavg()
  if (load > cpus().length + 1) {
    console.error(
      `bench: the machine is busy (load ${load.toFixed(1)} on ${cpus().length} processors): times are not reliable`,
    )
  }
  return rows.some(({ ok }) => ok === false) ? 1 : 0
}

process.exitCode = main()
