// libvirt's hook, with a systemctl that notes what it is asked; and the units.
import { chmodSync, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { HOOK_PROGRAM, handOverFiles, hookFile } from '../../lib/hand-over/hook-files.ts'
import { newFolder } from '../support/expect.ts'
import { SHELLS } from '../support/hand-over-kernel.ts'
import { needs } from '../support/needs.ts'
import { type Ran, runProgram } from '../support/run.ts'
import { writeIn } from '../support/system.ts'

const one = 'c0ffee00-0000-4000-8000-000000000001'
const two = 'c0ffee00-0000-4000-8000-000000000002'
const xml = (uuid: string): string => `<domain type='kvm' id='3'>
  <name>win11</name>
  ${uuid === '' ? '' : `<uuid>${uuid}</uuid>`}
  <sysinfo><system><entry name='uuid'>${two}</entry></system></sysinfo>
  <metadata><x:uuid><uuid>${two}</uuid></x:uuid></metadata>
</domain>
`

interface Called {
  shell?: readonly string[]
  name?: string
  input?: string
  /** What systemctl does. */
  systemctl?: string
  guests?: Record<string, string>
}

/** Calls the hook as libvirt does. */
function call(operation: string, part: string, given: Called = {}): Ran & { asked: string[]; root: string } {
  const {
    shell = SHELLS[0] ?? ['sh'],
    name = 'win11',
    input = xml(one),
    systemctl = '',
    guests = { win11: one },
  } = given
  const root = newFolder()
  const log = join(root, 'asked')
  const moved = HOOK_PROGRAM.replaceAll('/etc/', `${root}/etc/`).replaceAll('/run/vfio', `${root}/run/vfio`)
  writeIn(root, 'hook', moved)
  writeIn(
    root,
    'bin/systemctl',
    `#!/bin/sh\necho "$*" >>${log}\necho out\necho err >&2\nname=\${2#*@} name=\${name%.*}\n${systemctl}\n`,
  )
  chmodSync(join(root, 'bin/systemctl'), 0o755)
  for (const [guest, uuid] of Object.entries(guests))
    writeIn(root, `etc/vfio-scripts/hand-over.d/${guest}`, `# written\nuuid ${uuid}\nfunction 0000:01:00.0 1002 73bf\n`)
  const [program = 'sh', ...args] = shell
  const env = { PATH: `${root}/bin:${process.env.PATH}`, ROOT: root }
  const ran = runProgram(program, [...args, join(root, 'hook'), name, operation, part, '-'], { env, input })
  const asked = existsSync(log) ? readFileSync(log, 'utf8').split('\n').slice(0, -1) : []
  return { ...ran, asked, root }
}

const started = (guest: string): string => `restart vfio-scripts-hand-over@${guest}.service`
const ended = (guest: string): string => `stop vfio-scripts-hand-over@${guest}.service`
const silent = { code: 0, stdout: '', stderr: '' }

describe.each(SHELLS.map((shell) => ({ shell, name: shell[0] })))('in $name', ({ shell }) => {
  it('starts the unit before the guest, and stops it after', () => {
    expect(call('prepare', 'begin', { shell })).toMatchObject({ ...silent, asked: [started('win11')] })
    expect(call('release', 'end', { shell })).toMatchObject({ ...silent, asked: [ended('win11')] })
  })

  it.each([
    'start begin',
    'started begin',
    'stopped end',
    'reconnect begin',
    'attach begin',
    'migrate begin',
    'restore begin',
    'prepare end',
    'release begin',
    ' ',
    'new one',
  ])('does nothing at %s, and says so', (called) => {
    const [operation = '', part = ''] = called.split(' ')
    expect(call(operation, part, { shell, input: '', systemctl: 'exit 1' })).toMatchObject({ ...silent, asked: [] })
  })

  it('knows the guest by its UUID alone', () => {
    expect(call('prepare', 'begin', { shell, name: 'win10' }).asked).toEqual([started('win11')])
    expect(call('prepare', 'begin', { shell, input: xml(one).replaceAll('\n', '') }).asked).toEqual([started('win11')])
    for (const [operation, part] of [
      ['prepare', 'begin'],
      ['release', 'end'],
    ] as const) {
      const other = call(operation, part, { shell, input: xml('c0ffee00-0000-4000-8000-000000000003') })
      expect(other).toMatchObject({ ...silent, asked: [] })
      expect(call(operation, part, { shell, input: xml('.*') })).toMatchObject({ ...silent, asked: [] })
      expect(call(operation, part, { shell, guests: {} })).toMatchObject({ ...silent, asked: [] })
    }
  })

  it('starts what is of this guest where two have a hand-over, and all of it where it has two', () => {
    const guests = { linux: two, win11: one }
    expect(call('prepare', 'begin', { shell, guests }).asked).toEqual([started('win11')])
    expect(call('prepare', 'begin', { shell, guests, input: xml(two) }).asked).toEqual([started('linux')])
    const both = { first: one, second: one }
    expect(call('release', 'end', { shell, guests: both, systemctl: 'exit 1' })).toMatchObject({
      ...silent,
      asked: [ended('first'), ended('second')],
    })
  })

  it('refuses the start with one line where the unit fails', () => {
    const why =
      'mkdir -p "$ROOT/run/vfio-scripts/hand-over/$name"; echo "it is in use" >"$ROOT/run/vfio-scripts/hand-over/$name/why"'
    const failed = call('prepare', 'begin', { shell, systemctl: `${why}; exit 1` })
    expect(failed).toMatchObject({ code: 1, stdout: '', stderr: 'hand-over: win11: it is in use\n' })
    const unit = 'vfio-scripts-hand-over@win11.service'
    expect(call('prepare', 'begin', { shell, systemctl: 'exit 4' })).toMatchObject({
      ...{ code: 1, stdout: '' },
      stderr: `hand-over: win11: ${unit} does not start; journalctl -u ${unit} says why\n`,
    })
  })

  it('refuses the start of a guest with this name and no UUID, and lets it end', () => {
    const input = xml('').replaceAll(/<uuid>.*<.uuid>/g, '')
    expect(call('prepare', 'begin', { shell, input })).toMatchObject({
      ...{ code: 1, stdout: '', asked: [] },
      stderr: 'hand-over: the XML of win11 has no UUID\n',
    })
    expect(call('release', 'end', { shell, input })).toMatchObject({ ...silent, asked: [] })
    expect(call('prepare', 'begin', { shell, input, name: 'linux' })).toMatchObject({ ...silent, asked: [] })
  })
})

it('does not tell why an earlier start was refused', () => {
  const stale = '[ -e "$ROOT/run/vfio-scripts/hand-over/win11/why" ] && echo stale >>"$ROOT/asked"; exit 1'
  const first = call('prepare', 'begin', { systemctl: stale })
  const why = 'run/vfio-scripts/hand-over/win11/why'
  writeIn(first.root, why, 'an old reason\n')
  const env = { PATH: `${first.root}/bin:${process.env.PATH}`, ROOT: first.root }
  const again = runProgram('sh', [join(first.root, 'hook'), 'win11', 'prepare', 'begin', '-'], { env, input: xml(one) })
  expect(again.code).toBe(1)
  expect(again.stderr).not.toContain('an old reason')
})

describe('what is written', () => {
  const programs = [...handOverFiles(), hookFile()].flatMap((one) => (one.kind === 'file' ? [one] : []))
  const shells = programs.filter(({ path }) => !path.endsWith('.service'))

  it('is short enough to be read', () => {
    expect(shells.length).toBeGreaterThan(3)
    expect(HOOK_PROGRAM.split('\n').length).toBeLessThanOrEqual(250)
  })

  it('needs neither Node nor, in libvirt, virsh', () => {
    expect(HOOK_PROGRAM).not.toMatch(/virsh|node/)
  })

  needs('shellcheck').it('is clean for shellcheck', () => {
    const dir = newFolder()
    for (const { path, content } of shells) {
      const file = join(dir, path.replaceAll('/', '_'))
      writeIn(dir, path.replaceAll('/', '_'), content)
      expect(runProgram('shellcheck', ['--shell=sh', file])).toEqual(silent)
    }
  })

  needs('systemd-analyze').it('is a unit for systemd', () => {
    const dir = newFolder()
    const units = programs.filter(({ path }) => path.endsWith('.service'))
    for (const { path, content } of units)
      writeIn(dir, path.slice(path.lastIndexOf('/') + 1).replace('@', '@win11'), content)
    const files = units.map(({ path }) => join(dir, path.slice(path.lastIndexOf('/') + 1).replace('@', '@win11')))
    const { stderr } = runProgram('systemd-analyze', ['verify', '--man=no', ...files])
    expect(stderr.split('\n').filter((line) => line.includes('vfio-scripts'))).toEqual([])
  })
})
