import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, system, tune } from '../support/bind.ts'
import { newFolder } from '../support/expect.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, type Ran, runProgram } from '../support/run.ts'
import { systemDir } from '../support/system.ts'

const report = (...args: string[]): Ran =>
  runProgram('node', [`${PROJECT}examples/fleet-report/fleet-report.mjs`, ...args])

/** A folder with these answers. */
function answers(files: Readonly<Record<string, string>>): string {
  const folder = join(newFolder(), 'reports')
  mkdirSync(folder)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, `${name}.json`), text)
  return folder
}

const drifted = (): string => {
  const dir = systemDir({ ...system, iommuByDefault: false })
  expect(apply(dir, card).code).toBe(0)
  return bind(dir, '--status', '--json').stdout
}
const nothing = (): string => bind(systemDir(system), '--status', '--json').stdout
const bound = JSON.stringify({ schema: 'vfio-scripts/bind-vfio/1', state: 'bound', devices: [1, 2], findings: [] })

describe('the report of a fleet', () => {
  it('is a row for each host and script, and well only where all is', () => {
    const well = answers({
      'server1.bind-vfio': bound,
      'server1.tune-host': tune(systemDir(system), '--status', '--json').stdout,
      'rack.b.server2.bind-vfio': nothing(),
    })
    const ran = report(well)
    expect(ran.stdout).toMatch(/^server1 +bind-vfio +bound +2 +0 +0$/m)
    expect(ran.stdout).toMatch(/^rack\.b\.server2 +bind-vfio +none/m)
    expect(ran.stdout).toMatch(/^2 hosts, all as planned$/m)
    expect(ran.code).toBe(0)
  })

  it.each<[string, () => string, RegExp]>([
    ['is not as planned', drifted, /drifted +2 +[1-9].*grub\.cfg/],
    ['did not answer', () => '', /no-answer .*no JSON document/],
    [
      'refused',
      () => JSON.stringify({ schema: 'vfio-scripts/error/1', error: { code: 'denied', message: 'run as root' } }),
      /error .*run as root/,
    ],
    ['answered something else', () => '{"groups":[]}', /no-answer/],
  ])('a host that %s is said', (_, answer, says) => {
    const ran = report(answers({ 'server1.bind-vfio': bound, 'server2.bind-vfio': answer() }))
    expect(ran.stdout).toMatch(new RegExp(`^server2 +bind-vfio +${says.source}`, 'm'))
    expect(ran.stdout).toMatch(/^2 hosts, 1 not as planned$/m)
    expect(ran.code).toBe(1)
  })

  it('cannot move the cursor', () => {
    const evil = JSON.stringify({ error: { message: '\u001b[2Jgone' } })
    expect(report(answers({ 'server1.bind-vfio': evil })).stdout).not.toContain('\u001b')
  })

  it.each([[[]], [['/no/such/folder']], [['--nosuch']], [[PROJECT]]])('%j is refused', (args) => {
    const ran = args[0] === PROJECT ? report(newFolder()) : report(...args)
    expect(ran).toMatchObject({ code: 2, stdout: '' })
    expect(ran.stderr).toMatch(/^[^\n]+\n$/)
  })

  it('for Prometheus is a gauge for each host', () => {
    const ran = report('--prometheus', answers({ 'server1.bind-vfio': bound, 'a"b\\c.bind-vfio': drifted() }))
    expect(ran.code).toBe(1)
    expect(ran.stdout).toContain('vfio_scripts_as_planned{host="server1",script="bind-vfio"} 1\n')
    expect(ran.stdout).toContain('vfio_scripts_as_planned{host="a\\"b\\\\c",script="bind-vfio"} 0\n')
    expect(ran.stdout).toContain('vfio_scripts_state{host="server1",script="bind-vfio",state="bound"} 1\n')
    needsNothingElse(ran.stdout)
  })

  needs('promtool').it('promtool takes it', () => {
    const { stdout } = report('--prometheus', answers({ 'server1.bind-vfio': bound, 'a"b.bind-vfio': drifted() }))
    expect(runProgram('promtool', ['check', 'metrics'], { input: stdout })).toEqual({ code: 0, stdout: '', stderr: '' })
  })

  it('shows what its README shows', () => {
    const lost = { state: 'problem', summary: '0000:02:00.0 is on nouveau, not on vfio-pci' }
    const off = JSON.stringify({ state: 'drifted', devices: [1, 2], findings: [lost] })
    const { stdout } = report(answers({ 'server1.bind-vfio': bound, 'server2.bind-vfio': off }))
    expect(readFileSync(`${PROJECT}examples/fleet-report/README.md`, 'utf8')).toContain(`reports\n${stdout}`)
  })
})

/** Every line is a comment of the format or a sample. */
function needsNothingElse(text: string): void {
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(/^(# (HELP|TYPE) vfio_scripts_\w+ .+|vfio_scripts_\w+\{([a-z]+="([^"\\]|\\.)*",?)+\} \d+)$/)
}
