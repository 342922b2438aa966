// npm run bench: how long list-iommu and a plan of bind-vfio take, against bare node, the guides' shell loop and lspci, in one run.
// The runs of one size alternate, so that whatever else the machine does hits all of them; medians are compared.
import { spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { manyAliases, manyNames } from './fake/bulk.ts'
import { generateMachine, loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'
import { systemDir } from './system.ts'

interface Run {
  name: string
  command: string
  args: string[]
  /** rounds in which it runs; the loop takes long enough for fewer */
  rounds: number
  /** how many devices its output shows */
  count: (stdout: string) => number
  /** its exit code [0] */
  code?: number
}

interface Row {
  devices: number
  what: string
  median: string
  ratio: string
  wanted: string
  ok?: boolean
}

const script = join(process.cwd(), 'scripts/list-iommu.mjs')
const systemNames = '/usr/share/misc/pci.ids'

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
  const rounds = devices > 1000 ? 7 : devices > 100 ? 9 : 41
  const runs: Run[] = [
    { name: 'node -e 0', command: process.execPath, args: ['-e', '0'], rounds, count: () => devices },
    {
      name: 'list-iommu',
      command: process.execPath,
      args: [script, '--root', tree],
      rounds,
      count: lines(/(?<![\w:])(?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7](?![\w:])/g),
    },
    {
      name: 'lspci -nnk',
      command: lspci[0] ?? '',
      args: [...lspci.slice(1), '-nnk'],
      rounds,
      count: lines(/^(?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7] /gm),
    },
  ]
  if (devices <= 1000) {
    runs.push({
      name: 'shell loop',
      command: 'bash',
      args: ['-c', shellLoop(tree, lspci)],
      rounds: devices > 100 ? 3 : 7,
      count: lines(/^IOMMU Group \d+ (?:[\da-f]{4,5}:)?[\da-f]{2}:[\da-f]{2}\.[0-7] /gm),
    })
  }
  return runs
}

const BARE = '  without tables'

/** list-iommu where there are no names and no module tables to look into: what sysfs alone takes. */
function withoutTables(tree: string, runs: readonly Run[]): Run {
  const sysfs = scratchDir('bench-sysfs')
  for (const folder of ['sys', 'proc'])
    cpSync(join(tree, folder), join(sysfs, folder), { recursive: true, verbatimSymlinks: true })
  const list = runs.find(({ name }) => name === 'list-iommu') as Run
  return { ...list, name: BARE, args: [script, '--root', sysfs] }
}

/** Milliseconds; the output is read, as by a pipe. */
function timed(run: Run, environment = process.env): { ms: number; stdout: string; stderr: string } {
  const start = process.hrtime.bigint()
  const { status, stdout, stderr, error } = spawnSync(run.command, run.args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    env: environment,
  })
  const ms = Number(process.hrtime.bigint() - start) / 1e6
  if (error !== undefined) throw error
  if (status !== (run.code ?? 0)) throw new Error(`${run.name} ended with ${status}: ${stderr.slice(0, 500)}`)
  return { ms, stdout, stderr }
}

/** One run each to warm the caches and to see that it shows every device, then alternating rounds. */
function measure(runs: Run[], devices: number): Map<string, number> {
  for (const run of runs) {
    const shown = run.count(timed(run).stdout)
    if (shown !== devices) throw new Error(`${run.name} shows ${shown} of ${devices} devices`)
  }
  const times = new Map<string, number[]>(runs.map((run) => [run.name, []]))
  const most = Math.max(...runs.map((run) => run.rounds))
  for (let round = 0; round < most; round++) {
    for (const run of runs) {
      if (round < run.rounds) times.get(run.name)?.push(timed(run).ms)
    }
  }
  return new Map([...times].map(([name, values]) => [name, median(values)]))
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const high = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : (high + (sorted[middle - 1] ?? Number.NaN)) / 2
}

/** Peak resident memory of the run, in MB (10^6 bytes): the child tells it at its end. */
function peakMemory(run: Run): number {
  const preload = join(scratchDir('bench-preload'), 'memory.cjs')
  writeFileSync(preload, "process.on('exit', () => console.error('maxRSS=' + process.resourceUsage().maxRSS))\n")
  const { stderr } = timed({ ...run, args: ['--require', preload, ...run.args] })
  return (Number(/maxRSS=(\d+)/.exec(stderr)?.[1]) * 1024) / 1e6
}

function rowsFor(devices: number): Row[] {
  const { tree } = makeTree(devices)
  const runs = runsOn(tree, devices)
  if (devices < 100) runs.push(withoutTables(tree, runs))
  const medians = measure(runs, devices)
  const of = (name: string): number => medians.get(name) ?? Number.NaN
  const list = of('list-iommu')
  const row = (what: string, more: Partial<Row> = {}): Row => ({
    devices,
    what,
    median: `${of(what).toFixed(1)} ms`,
    ratio: '',
    wanted: '',
    ...more,
  })
  const against = (name: string): string => `${(list / of(name)).toFixed(2)} × ${name}`
  const rows = [row('node -e 0')]
  if (devices < 100) {
    const ok = list <= 1.3 * of('node -e 0')
    rows.push(row('list-iommu', { ratio: against('node -e 0'), wanted: '≤ 1.3', ok }))
    const bare = (of(BARE) / of('node -e 0')).toFixed(2)
    rows.push(row(BARE, { ratio: `${bare} × node -e 0` }))
  } else if (devices < 1000) {
    const faster = of('shell loop') / list
    rows.push(
      row('list-iommu', { ratio: `${faster.toFixed(0)} × faster than the loop`, wanted: '≥ 10', ok: faster >= 10 }),
    )
  } else {
    rows.push(row('list-iommu', { ratio: against('lspci -nnk'), wanted: '≤ 2', ok: list <= 2 * of('lspci -nnk') }))
    const listRun = runs.find(({ name }) => name === 'list-iommu')
    const megabytes = listRun === undefined ? Number.NaN : peakMemory(listRun)
    rows.push(row('  peak memory', { median: `${megabytes.toFixed(0)} MB`, wanted: '< 120 MB', ok: megabytes < 120 }))
  }
  rows.push(row('lspci -nnk', { ratio: devices < 1000 ? `list-iommu is ${against('lspci -nnk')}` : '' }))
  rows.push(devices <= 1000 ? row('shell loop') : row('shell loop', { median: 'skipped', ratio: 'would take minutes' }))
  return rows
}

/** The plan of bind-vfio for a graphics card, on a whole system. */
function planRow(): Row {
  const root = systemDir({ machine: 'i9-14900k-vmd', iommuByDefault: false })
  const devices = Object.keys(loadMachine('i9-14900k-vmd').devices).length
  const plan = join(process.cwd(), 'scripts/bind-vfio.mjs')
  const node = { command: process.execPath, rounds: 41, count: () => devices }
  const medians = measure(
    [
      { ...node, name: 'node -e 0', args: ['-e', '0'] },
      { ...node, name: 'bind-vfio', args: [plan, '--root', root, '02:00'], code: 1 },
    ],
    devices,
  )
  const [bare = Number.NaN, ms = Number.NaN] = medians.values()
  const ratio = `${(ms / bare).toFixed(2)} × node -e 0`
  return {
    devices,
    what: 'bind-vfio, a plan',
    median: `${ms.toFixed(1)} ms`,
    ratio,
    wanted: '≤ 1.5',
    ok: ms <= 1.5 * bare,
  }
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
  const rows = [...[32, 512, 4096].flatMap(rowsFor), planRow()]
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
