import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { PROJECT } from '../support/run.ts'

const source = (file: string): string => readFileSync(PROJECT + file, 'utf8')

describe('the package', () => {
  const { bin, files } = JSON.parse(source('package.json')) as { bin: Record<string, string>; files: string[] }
  const scripts = readdirSync(`${PROJECT}scripts`).filter((name) => name.endsWith('.mts'))

  it('has every script as a command', () => {
    const commands = [...scripts, 'vfio-scripts.mts'].map((name) => name.replace('.mts', ''))
    expect(bin).toEqual(Object.fromEntries(commands.map((name) => [name, `scripts/${name}.mjs`])))
  })

  it.each(Object.values(bin))('%s is executable and runs under node', (file) => {
    expect(statSync(PROJECT + file).mode & 0o111).toBe(0o111)
    expect(source(file).startsWith('#!/usr/bin/env node\n')).toBe(true)
  })

  it.each([
    ['list-iommu', 154_000],
    ['check-reset', 127_000],
    ['gen-domain', 510_000],
  ])('%s.mjs is at most %d bytes', (name, most) => {
    expect(statSync(`${PROJECT}scripts/${name}.mjs`).size).toBeLessThanOrEqual(most)
  })

  it.each(Object.values(bin))('%s is a text of one byte a character to V8', (file) => {
    expect(source(file)).not.toMatch(/[^\0-\xff]/)
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
    // The file of all commands has no such comments; it holds what any of them does.
    if (file === bin['vfio-scripts'])
      for (const one of ['minimist', 'semver', 'diff', 'fast-xml-parser']) names.add(one)
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
    for (const name of scripts) expect(paths).toContain(`completions/bash/${name.replace('.mts', '')}`)
    expect(paths.filter((path) => /^(test|lib|distros|node_modules)\/|\.m?ts$|\.ci/.test(path))).toEqual([])
    expect(files).toEqual(['scripts/*.mjs', 'scripts/setup.md', 'completions', 'man', 'THIRD-PARTY-NOTICES'])
  })

  it('locks versions without the address of a registry', () => {
    const lock = source('package-lock.json')
    expect(lock).toContain('"integrity"')
    expect(lock).not.toMatch(/"resolved"|"https?:\/\/[^"]*\.tgz/)
  })
})
