import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { PROJECT } from '../support/run.ts'

/** What reaches the machine: files, processes, the network, the host's own facts. */
const MACHINE = /^node:(fs|fs\/promises|child_process|net|http|https|http2|dgram|dns|tls|os|worker_threads|cluster)$/

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
    ['distros', /^(distros|lib\/plan|lib\/host)\/|^lib\/cli\/error\.ts$/],
    ['lib', /^lib\//],
  ])('%s imports what it may', (folder, allowed) => {
    const own = imports.filter((each) => each.from.startsWith(`${folder}/`) && isLocal(each))
    expect(own.filter(({ to }) => !allowed.test(to)).map(text)).toEqual([])
  })

  it('six files touch the machine, and nothing else does', () => {
    const touching = imports.filter(({ to }) => MACHINE.test(to) || /^(fs|child_process|net|os)\b/.test(to))
    expect(new Set(touching.map(({ from }) => from))).toEqual(
      new Set([
        ...['lib/cli/output.ts', 'lib/host/rooted.ts'],
        ...['lib/plan/below.ts', 'lib/plan/command.ts', 'lib/plan/tree.ts', 'lib/plan/write.ts'],
      ]),
    )
    const others = touching.filter(({ to }) => to !== 'node:fs')
    expect(others.map(text)).toEqual(['lib/plan/command.ts → node:child_process'])
  })

  it('lib/cli/output.ts touches only descriptors 1 and 2', () => {
    const [own] = imports.filter(({ from, to }) => from === 'lib/cli/output.ts' && to === 'node:fs')
    expect(own?.names.replace(/\s+/g, ' ')).toBe(' { fstatSync, writeSync } ')
    expect(source('lib/cli/output.ts')).toContain('function write(stream: 1 | 2,')
    expect(source('lib/cli/output.ts').match(/(?:fstat|write)Sync\(\w+/g)).toEqual([
      'writeSync(stream',
      'fstatSync(stream',
    ])
  })

  it.each(['lib/host/rooted.ts', 'lib/plan/below.ts'])('%s opens nothing to write', (file) => {
    const [own] = imports.filter(({ from, to }) => from === file && to === 'node:fs')
    expect(own?.names).not.toMatch(/write|append|mkdir|rm|unlink|rename|symlink|truncate|chmod|chown|utimes|copy|cp/)
    expect(source(file)).not.toMatch(/O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)/)
  })

  it('what writes reaches every file through the folder that lib/plan/below.ts holds open', () => {
    for (const file of ['lib/plan/tree.ts', 'lib/plan/write.ts']) {
      const exported = [...source(file).matchAll(/^export (?:async )?function (\w+)\(([^)]*)\)/gm)]
      const rooted = exported.filter(
        ([, , names]) => /\bpath: string/.test(names ?? '') && /\broot\b/.test(names ?? ''),
      )
      expect(rooted.length).toBeGreaterThan(0)
      const bodies = source(file).split(/^export /m)
      for (const [, name] of rooted)
        expect(bodies.find((body) => body.includes(`function ${name}(`))).toMatch(
          /\bbelow\(|throughBeside\(|\bfd: number, text\b/,
        )
    }
  })

  it('one file at most imports zx, and no script that only reads does', () => {
    const files = new Set(imports.filter(({ to }) => /^zx\b/.test(to)).map(({ from }) => from))
    expect(files.size).toBeLessThanOrEqual(1)
    for (const script of ['list-iommu', 'check-reset']) {
      const reach = [...reachOf(`scripts/${script}.mts`)]
      expect(reach).toContain('lib/host/rooted.ts')
      expect(reach.filter((path) => /^zx\b/.test(path))).toEqual([])
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

  it('export by name only', () => {
    expect(all.filter((file) => /^export (default\b|\{[^}]*\bdefault\b)|^export \*/m.test(source(file)))).toEqual([])
  })

  it('reach their process through its caller: its arguments, streams, exit code and signals', () => {
    const own = sources.filter((file) => /process\.(argv|exitCode|std(in|out|err)|on(ce)?)\b/.test(source(file)))
    // output.ts writes there for caller.ts; choose.ts asks a person.
    expect(own).toEqual(['lib/cli/caller.ts', 'lib/cli/choose.ts', 'lib/cli/output.ts'])
  })

  it('never cut their output off', () => {
    // command.ts ends the programs that it runs.
    expect(sources.filter((file) => /process\.(exit|abort)\(|process\.kill\((?!-pid)/.test(source(file)))).toEqual([])
  })
})

describe('the package', () => {
  const { bin, files } = JSON.parse(source('package.json')) as { bin: Record<string, string>; files: string[] }
  const scripts = readdirSync(`${PROJECT}scripts`).filter((name) => name.endsWith('.mts'))

  it('has every script as a command', () => {
    expect(bin).toEqual(
      Object.fromEntries(scripts.map((name) => [name.replace('.mts', ''), `scripts/${name.replace('.mts', '.mjs')}`])),
    )
  })

  it.each(Object.values(bin))('%s is executable and runs under node', (file) => {
    expect(statSync(PROJECT + file).mode & 0o111).toBe(0o111)
    expect(source(file).startsWith('#!/usr/bin/env node\n')).toBe(true)
  })

  it.each([
    ['list-iommu', 110_000],
    ['check-reset', 115_000],
    ['gen-domain', 420_000],
  ])('%s.mjs is at most %d bytes', (name, most) => {
    expect(statSync(`${PROJECT}scripts/${name}.mjs`).size).toBeLessThanOrEqual(most)
  })

  it.each(Object.values(bin))('%s holds no path of the machine that built it', (file) => {
    expect(source(file)).not.toContain(PROJECT)
  })

  it('runs nothing where it is installed, and asks nobody what to think of its own parts', () => {
    const { scripts: run, allowScripts, os, keywords } = JSON.parse(source('package.json'))
    // What is installed from a tarball lacks build.mjs.
    expect(Object.keys(run).filter((name) => /^(pre|post)?(install|prepare)$/.test(name))).toEqual([])
    expect(run.prepack).toBe('node build.mjs')
    expect([os, keywords.includes('vfio')]).toEqual([['linux'], true])
    const lock = JSON.parse(source('package-lock.json')) as { packages: Record<string, Record<string, unknown>> }
    const scripted = Object.entries(lock.packages).filter(([, one]) => one.hasInstallScript && !one.optional)
    const names = scripted.map(([path]) => path.replace('node_modules/', ''))
    expect(Object.keys(allowScripts)).toEqual(names)
  })

  it.each(Object.values(bin))('%s carries the licences of all that is bundled into it', (file) => {
    const text = source(file)
    expect(text).toContain(source('LICENSE').trim())
    // esbuild says above each part where it is from.
    const parts = text.matchAll(/^\/\/ node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//gm)
    const names = new Set([...parts].map(([, name = '']) => name))
    expect(names.size).toBeGreaterThan(0)
    for (const name of names) {
      const licence = source(`node_modules/${name}/LICENSE`).replaceAll('\r', '').trim()
      expect(text, name).toContain(licence)
      expect(source('THIRD-PARTY-NOTICES'), name).toContain(licence)
    }
  })

  it('packs the built scripts and nothing of the tests', () => {
    const [packed] = JSON.parse(
      execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
        cwd: PROJECT,
        encoding: 'utf8',
        stdio: 'pipe',
      }),
    ) as [{ files: { path: string }[] }]
    const paths = packed.files.map(({ path }) => path)
    expect(paths).toEqual(
      expect.arrayContaining([...Object.values(bin), 'LICENSE', 'THIRD-PARTY-NOTICES', 'package.json']),
    )
    for (const name of Object.keys(bin)) expect(paths).toContain(`completions/bash/${name}`)
    expect(paths.filter((path) => /^(test|lib|distros|node_modules)\/|\.m?ts$|\.ci/.test(path))).toEqual([])
    expect(files).toEqual(['scripts/*.mjs', 'scripts/setup.md', 'completions', 'THIRD-PARTY-NOTICES'])
  })

  it('locks versions without the address of a registry', () => {
    const lock = source('package-lock.json')
    expect(lock).toContain('"integrity"')
    expect(lock).not.toMatch(/"resolved"|"https?:\/\/[^"]*\.tgz/)
  })
})
