import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PROJECT } from '../support/run.ts'

/** What reaches the machine: files, processes, the network, the host's own facts. */
const MACHINE = /^node:(fs|fs\/promises|child_process|net|http|https|http2|dgram|dns|tls|os|worker_threads|cluster)$/

/** The folders of lib, from the ground up: each imports itself and those before it. */
const LAYERS = [
  ...['core', 'host', 'terminal', 'cpu', 'edit', 'change', 'system', 'predict'],
  ...['bind', 'guest', 'hand-over', 'checks', 'tune', 'views', 'commands'],
]

interface Import {
  from: string
  /** `./x.ts` as a path from the project's folder; a package or node module as it stands. */
  to: string
  names: string
}

function filesIn(...folders: string[]): string[] {
  return folders.flatMap((folder) => {
    const names =
      folder === 'distros' && !readdirSync(PROJECT).includes(folder)
        ? []
        : readdirSync(PROJECT + folder, { recursive: true })
    return names
      .map((name) => join(folder, String(name)))
      .filter((path) => /\.m?ts$/.test(path))
      .sort()
  })
}

const source = (file: string): string => readFileSync(PROJECT + file, 'utf8')

/** Every module a source names: import, export from, import(), require(). */
function importsOf(from: string): Import[] {
  const pattern =
    /^(?:import|export)\b([^'"`;]*?)\bfrom\s*['"]([^'"]+)['"]|^import\s*()['"]([^'"]+)['"]|\b()(?:import|(?:createR|r)equire(?:\([^)]*\))?)\s*\(\s*['"`]([^'"`]+)['"`]/gm
  return [...source(from).matchAll(pattern)].map((match) => {
    const to = match[2] ?? match[4] ?? match[6] ?? ''
    return { from, to: to.startsWith('.') ? normalize(join(dirname(from), to)) : to, names: match[1] ?? '' }
  })
}

const sources = filesIn('lib', 'scripts', 'distros')
const imports = sources.flatMap(importsOf)
const isLocal = ({ to }: Import): boolean => /^(lib|scripts|distros|test|\.\.)\b/.test(to)
const text = ({ from, to }: Import): string => `${from} → ${to}`

/** All that a file brings into its bundle. */
function reachOf(file: string): Set<string> {
  const reach = new Set([file])
  for (const each of reach) for (const { from, to } of imports) if (from === each) reach.add(to)
  return reach
}

describe('imports', () => {
  it('are all found', () => {
    // As many as there are lines that say so: the rules below see every import.
    const said = sources.flatMap(
      (file) =>
        source(file).match(/^(?:import|export)\b.*\bfrom '|^\} from '|^import '|\bimport\(|createRequire\(.*?\)\(/gm) ??
        [],
    )
    expect(imports.length).toBe(said.length)
    expect(imports.length).toBeGreaterThan(60)
  })

  it.each([
    ['scripts', /^(lib|distros)\//],
    ['distros', /^(distros|lib\/(core|host|edit|change|system))\//],
    ['distros/boot', /^(distros\/boot|lib)\//],
    ['distros/bootloaders', /^(distros\/(boot|bootloaders)|lib)\//],
    ['distros/initramfs', /^(distros\/(boot|initramfs)|lib)\//],
    ['distros/packages', /^lib\//],
    ['lib', /^lib\//],
  ])('%s imports what it may', (folder, allowed) => {
    const own = imports.filter((each) => each.from.startsWith(`${folder}/`) && isLocal(each))
    expect(own.filter(({ to }) => !allowed.test(to)).map(text)).toEqual([])
  })

  it('go down: no folder of lib imports a folder above it', () => {
    const folders = readdirSync(`${PROJECT}lib`)
    expect([...LAYERS].sort()).toEqual(folders.sort())
    const layer = (path: string): number => LAYERS.indexOf(path.split('/')[1] ?? '')
    const inside = imports.filter(({ from, to }) => from.startsWith('lib/') && to.startsWith('lib/'))
    expect(inside.length).toBeGreaterThan(400)
    expect(inside.filter(({ from, to }) => layer(to) > layer(from)).map(text)).toEqual([])
  })

  it('six files touch the machine, and nothing else does', () => {
    const touching = imports.filter(({ to }) => MACHINE.test(to) || /^(fs|child_process|net|os)\b/.test(to))
    expect(new Set(touching.map(({ from }) => from))).toEqual(
      new Set([
        ...['lib/terminal/output.ts', 'lib/host/sysroot.ts'],
        ...['lib/change/beneath.ts', 'lib/change/run.ts', 'lib/change/write-tree.ts', 'lib/change/write.ts'],
      ]),
    )
    const others = touching.filter(({ to }) => to !== 'node:fs')
    expect(others.map(text)).toEqual(['lib/change/run.ts → node:child_process'])
  })

  it('lib/terminal/output.ts touches only descriptors 1 and 2', () => {
    const [own] = imports.filter(({ from, to }) => from === 'lib/terminal/output.ts' && to === 'node:fs')
    expect(own?.names.replace(/\s+/g, ' ')).toBe(' { fstatSync, writeSync } ')
    expect(source('lib/terminal/output.ts')).toContain('function write(stream: 1 | 2,')
    expect(source('lib/terminal/output.ts').match(/(?:fstat|write)Sync\(\w+/g)).toEqual([
      'writeSync(stream',
      'fstatSync(stream',
    ])
  })

  it.each(['lib/host/sysroot.ts', 'lib/change/beneath.ts'])('%s opens nothing to write', (file) => {
    const [own] = imports.filter(({ from, to }) => from === file && to === 'node:fs')
    expect(own?.names).not.toMatch(/write|append|mkdir|rm|unlink|rename|symlink|truncate|chmod|chown|utimes|copy|cp/)
    expect(source(file)).not.toMatch(/O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)/)
  })

  it('what writes reaches every file through the folder that lib/change/beneath.ts holds open', () => {
    for (const file of ['lib/change/write-tree.ts', 'lib/change/write.ts']) {
      const exported = [...source(file).matchAll(/^export (?:async )?function (\w+)\(([^)]*)\)/gm)]
      const rooted = exported.filter(
        ([, , names]) => /\bpath: string/.test(names ?? '') && /\broot\b/.test(names ?? ''),
      )
      expect(rooted.length).toBeGreaterThan(0)
      const bodies = source(file).split(/^export /m)
      for (const [, name] of rooted)
        expect(bodies.find((body) => body.includes(`function ${name}(`))).toMatch(
          /\bbeneathRoot\(|throughBeside\(|\bfd: number, text\b/,
        )
    }
  })

  it('none is of zx, which runs the runbook, and no script that only reads can run a program', () => {
    expect(imports.filter(({ to }) => /^zx\b/.test(to)).map(text)).toEqual([])
    for (const script of ['list-iommu', 'check-reset']) {
      const reach = [...reachOf(`scripts/${script}.mts`)]
      expect(reach).toContain('lib/host/sysroot.ts')
      expect(readFileSync(`${PROJECT}scripts/${script}.mjs`, 'utf8')).not.toMatch(/node_modules\/zx|child_process/)
    }
  })

  it('have no cycles', () => {
    const cycles: string[] = []
    const done = new Set<string>()
    const visit = (file: string, above: string[]): void => {
      if (above.includes(file)) cycles.push([...above.slice(above.indexOf(file)), file].join(' → '))
      else if (!done.has(file)) {
        for (const { from, to } of imports) if (from === file) visit(to, [...above, file])
        done.add(file)
      }
    }
    for (const file of sources) visit(file, [])
    expect(cycles).toEqual([])
  })

  it('leave no file out: a feature or a distribution that no list has would be nowhere', () => {
    const reached = new Set(filesIn('scripts').flatMap((entry) => [...reachOf(entry)]))
    expect(sources.filter((file) => !reached.has(file))).toEqual([])
  })

  it('are written with their extension, and exist', () => {
    const local = imports.filter(isLocal)
    expect(local.length).toBeGreaterThan(40)
    expect(local.filter(({ to }) => !sources.includes(to)).map(text)).toEqual([])
  })

  it('of packages are those that package.json has', () => {
    const { dependencies = {}, devDependencies = {} } = JSON.parse(source('package.json'))
    const known = Object.keys({ ...dependencies, ...devDependencies })
    const packages = imports.map(({ to }) => to).filter((to) => !/^(node:|lib\/|scripts\/|distros\/)/.test(to))
    expect(packages).toContain('minimist')
    expect(packages.filter((name) => !known.includes(name.split('/')[0] ?? ''))).toEqual([])
  })
})

describe('sources', () => {
  const all = filesIn('lib', 'scripts', 'distros', 'test')

  it('are short', () => {
    const lengths = all.map((file) => [file, source(file).split('\n').length - 1] as const)
    expect(lengths.filter(([, lines]) => lines > 260)).toEqual([])
  })

  it('have a name each, by which one opens them', () => {
    const names = sources.map((file) => file.slice(file.lastIndexOf('/') + 1))
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
  })

  it('define each function and each type once', () => {
    const defined = sources.flatMap((file) => {
      const found = source(file).matchAll(
        /^(?:export )?(?:(?:async )?function\*? |interface |type |class |const (?=\w+ = (?:async )?\())(\w+)/gm,
      )
      return [...new Set([...found].map(([, name]) => name))].map((name) => `${name}`)
    })
    expect(defined.length).toBeGreaterThan(1000)
    expect(defined.filter((name, index) => defined.indexOf(name) !== index)).toEqual([])
  })

  it('export by name only', () => {
    expect(all.filter((file) => /^export (default\b|\{[^}]*\bdefault\b)|^export \*/m.test(source(file)))).toEqual([])
  })

  it('reach their process through its caller: its arguments, streams, exit code and signals', () => {
    const own = sources.filter((file) => /process\.(argv|exitCode|std(in|out|err)|on(ce)?)\b/.test(source(file)))
    // output.ts writes there for caller.ts; choose.ts asks a person.
    expect(own).toEqual(['lib/commands/choose.ts', 'lib/terminal/caller.ts', 'lib/terminal/output.ts'])
  })

  it('never cut their output off', () => {
    // command.ts ends the programs that it runs.
    expect(sources.filter((file) => /process\.(exit|abort)\(|process\.kill\((?!-pid)/.test(source(file)))).toEqual([])
  })
})
