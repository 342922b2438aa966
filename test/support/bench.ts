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
import { measure, type Row, type Run, rowsOf, show, timed, type Wanted } from './measure.ts'
import { systemDir } from './system.ts'

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

/** Peak resident memory of the run, in MB (10^6 bytes): the child tells it at its end. */
function peakMemory(run: Run): number {
  const preload = join(scratchDir('bench-preload'), 'memory.cjs')
  writeFileSync(preload, "process.on('exit', () => console.error('maxRSS=' + process.resourceUsage().maxRSS))\n")
  const { stderr } = timed({ ...run, args: ['--require', preload, ...run.args] })
  return (Number(/maxRSS=(\d+)/.exec(stderr)?.[1]) * 1024) / 1e6
}

const WANTED: Record<number, readonly Wanted[]> = {
  32: [
    ['list-iommu', 1.35, NODE],
    ['list-iommu', 1, 'lshw'],
  ],
  512: [
    ['list-iommu', 2.5, 'lspci -nnk'],
    ['list-iommu', 1 / 3, 'lshw'],
    ['list-iommu', 1 / 90, 'driverctl'],
    ['list-iommu', 1 / 32, 'shell loop'],
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
    // 580 ms where bare node takes 78 ms.
    ["setup.md's plan", 7.6, NODE],
  ])
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
