import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { bind, etcOf, expectRan, override, tune, write } from '../support/bind.ts'
import type { Ran } from '../support/run.ts'
import { snapshotOf, systemDir } from '../support/system.ts'

const scripts = { 'bind-vfio': bind, 'override-same-id-gpu': override }
type Binder = keyof typeof scripts

const twins = (): string => systemDir({ machine: 'twin-gpus', files: { 'usr/lib/systemd/systemd': '' } })
const all = (dir: string): string => etcOf(dir) + snapshotOf(join(dir, 'usr'))

describe.each<[Binder, Binder]>([
  ['bind-vfio', 'override-same-id-gpu'],
  ['override-same-id-gpu', 'bind-vfio'],
])('a binding that %s made is %s’s too', { concurrent: true }, (maker, other) => {
  const make = (dir: string, ...args: string[]): Ran => scripts[maker](dir, '05:00', ...args, ...write)
  const ask = scripts[other]

  it('--status shows it, --undo plans its end and takes it back, byte for byte', () => {
    const dir = twins()
    const before = all(dir)
    expectRan(make(dir), 0)
    const made = all(dir)
    const status = ask(dir, '--status', '--json')
    expect(JSON.parse(status.stdout).devices).toMatchObject([{ address: '0000:05:00.0' }, { address: '0000:05:00.1' }])
    expectRan(ask(dir, '--undo'), 1, /0000:05:00\.0 \[10de:2504\]/)
    expectRan(ask(dir, '--undo', '05:00'), 1, /0000:05:00\.0 \[10de:2504\]/)
    expect(all(dir)).toBe(made)
    expectRan(tune(dir, '--undo'), 0, new RegExp(`nothing to take back. What ${maker} set up goes with ${maker}`))
    expectRan(ask(dir, '--undo', ...write), 0, /Taken back/)
    expect(all(dir)).toBe(before)
    expectRan(scripts[maker](dir, '--undo'), 0, /nothing to take back\.\n$/)
  })

  it('two of them are one thing: one undo, and each card alone', () => {
    const dir = twins()
    const before = all(dir)
    expectRan(make(dir), 0)
    const one = all(dir)
    expectRan(ask(dir, '04:00', ...write), 0)
    const both = all(dir)
    expectRan(scripts[maker](dir, '--undo', '04:00', ...write), 0, /other devices still need the rest/)
    expect(all(dir)).toBe(one)
    expectRan(ask(dir, '04:00', ...write), 0)
    expect(all(dir)).toBe(both)
    expectRan(ask(dir, '--undo', ...write), 0)
    expect(all(dir)).toBe(before)
  })

  it('--confirm keeps it, and an undo takes its timer along', () => {
    const dir = twins()
    const before = all(dir)
    expectRan(make(dir), 0)
    const plain = all(dir)
    expectRan(ask(dir, '--undo', ...write), 0)
    expectRan(make(dir, '--confirm-within', '10m'), 0, new RegExp(`Unless ${maker} --confirm follows`))
    expectRan(ask(dir, '--confirm'), 0, new RegExp(`^${other}: confirmed; what was applied stays\\.\\n$`))
    expect(all(dir)).toBe(plain)
    expectRan(ask(dir, '--confirm'), 2, new RegExp(`^${other}: nothing waits for a confirmation`))
    expectRan(ask(dir, '--undo', ...write), 0)
    expectRan(make(dir, '--confirm-within', '10m'), 0)
    expectRan(ask(dir, '--undo', '05:00', ...write), 0)
    expect(all(dir)).toBe(before)
  })
})
