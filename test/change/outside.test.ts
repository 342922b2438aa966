// Another root is not ours to trust: whatever links and journals in it say, nothing outside it is written.
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { apply, bind, card, etcOf, expectRan, modprobe, system, undo } from '../support/bind.ts'
import { expectError } from '../support/expect.ts'
import { scratchDir } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { runScript } from '../support/run.ts'
import { snapshotOf, systemDir, textOf, writeIn } from '../support/system.ts'

const JOURNAL = 'var/lib/vfio-scripts'

/** A folder of the running host that must stay as it is, with one file in it. */
function hostFolder(): string {
  const folder = scratchDir('host')
  writeFileSync(join(folder, 'kept.conf'), 'the host\n')
  return folder
}

function linked(dir: string, path: string, to: string): void {
  rmSync(join(dir, path), { recursive: true, force: true })
  mkdirSync(dirname(join(dir, path)), { recursive: true })
  symlinkSync(to, join(dir, path))
}

describe('a link that leads out of the root', () => {
  it.each(['etc/modprobe.d', 'etc/initramfs-tools', 'etc'])('%s: is refused, and the host is as it was', (path) => {
    const dir = systemDir(system)
    const host = hostFolder()
    linked(dir, path, host)
    const before = snapshotOf(dir)
    expectRan(apply(dir, card), 2)
    expect(readdirSync(host)).toEqual(['kept.conf'])
    expect(snapshotOf(dir)).toBe(before)
  })

  it('is named, with what to do', () => {
    const dir = systemDir(system)
    linked(dir, 'etc/modprobe.d', hostFolder())
    expectError(
      apply(dir, card),
      'goes through a link to what is not there below',
      'mount it there, or remove the link',
    )
  })

  it('below the root is followed: absolute, relative, and through ..', () => {
    for (const to of ['/srv/modprobe', '../srv/modprobe', '../../../../srv/./modprobe']) {
      const dir = systemDir(system)
      linked(dir, 'etc/modprobe.d', to)
      mkdirSync(join(dir, 'srv/modprobe'), { recursive: true })
      expectRan(apply(dir, card), 0)
      expect(readdirSync(join(dir, 'srv/modprobe'))).toEqual(['00-vfio-scripts.conf'])
      expectRan(undo(dir), 0)
      expect(readdirSync(join(dir, 'srv/modprobe'))).toEqual([])
    }
  })

  it('that goes round in a circle is one line', () => {
    const dir = systemDir(system)
    linked(dir, 'etc/modprobe.d', 'modprobe.d')
    expectError(apply(dir, card), 'ELOOP')
  })

  it('in the place of the journal is refused', () => {
    const dir = systemDir(system)
    const host = hostFolder()
    linked(dir, 'var/lib', host)
    expectError(apply(dir, card), dir)
    expect(readdirSync(host)).toEqual(['kept.conf'])
  })
})

type Loose = Record<string, unknown>

/** A system whose journal holds a run that was cut short, with its entry changed. */
function tampered(change: (entry: Loose & { plan: { changes: Loose[] } }) => unknown): string {
  const dir = systemDir(system)
  expectRan(apply(dir, card), 0)
  rmSync(join(dir, JOURNAL, '0001/done'))
  const path = join(dir, JOURNAL, '0001/entry.json')
  const entry = JSON.parse(readFileSync(path, 'utf8'))
  writeFileSync(path, JSON.stringify(change(entry) ?? entry))
  return dir
}

const file = (path: string): Loose => ({ kind: 'file', path, before: 'theirs\n', after: null, mode: 0o644, reason: '' })

describe('a journal that somebody else wrote', () => {
  it.each<[string, Loose]>([
    ['a path that is not absolute', file('etc/passwd')],
    ['a path with ..', file('/etc/../../outside')],
    ['a path that is not normal', file('/etc//passwd')],
    ['a path with a zero byte', file('/etc/a\0b')],
    ['a file of a package', file('/usr/bin/sh')],
    ['a content that is no text', { ...file('/etc/x'), before: 1 }],
    ['an unknown kind', { ...file('/etc/x'), kind: 'constructor' }],
    [
      'a driver of the running system',
      { kind: 'driver', address: '0000:00:00.0', before: null, after: 'x', reason: '' },
    ],
    ['a command that is no list', { kind: 'command', argv: 'reboot', inverse: [], touches: [], reason: '' }],
    [
      'an image with ..',
      { kind: 'command', argv: ['true'], inverse: ['true'], touches: ['/boot/../../x'], reason: '' },
    ],
  ])('with %s is refused as a whole', (_, change) => {
    const dir = tampered((entry) => void entry.plan.changes.push(change))
    const before = etcOf(dir)
    for (const ran of [bind(dir, card), apply(dir, card), undo(dir), bind(dir, '--status')])
      expectError(ran, `/${JOURNAL}/0001/entry.json`, 'move', 'then run this again')
    expect(etcOf(dir)).toBe(before)
  })

  it('whose file lies behind a link out of the root is not carried out', () => {
    const dir = tampered((entry) => void entry.plan.changes.push(file('/etc/out/kept.conf')))
    const host = hostFolder()
    linked(dir, 'etc/out', host)
    expectRan(apply(dir, card), 2, /goes through a link to what is not there .* move .*0001 to another place/)
    expect(readFileSync(join(host, 'kept.conf'), 'utf8')).toBe('the host\n')
  })

  needs('root', process.getuid?.() === 0).it(
    'that belongs to somebody else, or that others may write, is refused',
    () => {
      const changes: ((path: string) => void)[] = [
        (path) => chownSync(path, 1234, 1234),
        (path) => chmodSync(path, 0o777),
      ]
      for (const path of ['', '0001', '0001/entry.json'])
        for (const change of changes) {
          const dir = tampered(() => undefined)
          change(join(dir, JOURNAL, path))
          expectError(apply(dir, card), 'cannot be trusted')
        }
    },
  )
})

describe('a damaged journal', () => {
  const broken: [string, string, string][] = [
    ['done full of zero bytes', '0001/done', '\0'.repeat(40)],
    ['a done that is no object', '0001/done', '7'],
    ['an entry with only a schema', '0001/entry.json', '{"schema":"vfio-scripts/journal/1"}'],
    ['an empty entry', '0001/entry.json', ''],
    ['an entry that is a list', '0001/entry.json', '[]'],
    ['a future version', '0001/entry.json', '{"schema":"vfio-scripts/journal/2","plan":{}}'],
  ]
  it.each(broken)('%s is one line, exit 2, and says how to go on', (_, path, text) => {
    const dir = systemDir(system)
    expectRan(apply(dir, card), 0)
    writeIn(dir, `${JOURNAL}/${path}`, text)
    const before = snapshotOf(dir)
    for (const [name, ...args] of [
      ['bind-vfio', card],
      ['bind-vfio', card, '--apply', '--no-commands'],
      ['bind-vfio', '--undo', '--apply', '--no-commands'],
      ['bind-vfio', '--status'],
      ['override-same-id-gpu', '--status'],
      ['tune-host', '--status'],
      ['tune-host', '--undo'],
    ] as const)
      expectError(runScript(name, ['--root', dir, ...args]), `/${JOURNAL}/0001`, 'undo.sh')
    expect(snapshotOf(dir)).toBe(before)
  })
})

describe('a run that was cut short', () => {
  it('is shown as a plan, with its lines, before it is taken back', () => {
    const dir = tampered(() => undefined)
    const plan = bind(dir, card)
    expect(plan.stdout).toMatch(/what was cut short is taken back/)
    expect(plan.stdout).toMatch(/- \/etc\/modprobe\.d\/00-vfio-scripts\.conf +as it was before/)
    expect(plan.stdout).toMatch(/-options vfio-pci ids=/)
    expect(JSON.parse(bind(dir, card, '--json').stdout).cutShort).toContainEqual(
      expect.objectContaining({ sign: '-', path: `/${modprobe}`, reason: 'as it was before' }),
    )
    const applied = apply(dir, card)
    expectRan(applied, 0)
    expect(applied.stderr).toMatch(/- \/etc\/modprobe\.d\/00-vfio-scripts\.conf +as it was before/)
    expect(textOf(dir, modprobe)).toMatch(/options vfio-pci ids=/)
    expect(existsSync(join(dir, JOURNAL, '0002'))).toBe(false)
  })
})
