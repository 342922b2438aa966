import { join } from 'node:path'
import { expect } from 'vitest'
import { type Ran, runScript } from './run.ts'
import { snapshotOf } from './system.ts'

// What the tests of bind-vfio share.

export const bind = (dir: string, ...args: string[]): Ran => runScript('bind-vfio', ['--root', dir, ...args])
export const apply = (dir: string, ...args: string[]): Ran => bind(dir, ...args, '--apply', '--no-commands')
export const undo = (dir: string, ...args: string[]): Ran => bind(dir, ...args, '--undo', '--apply', '--no-commands')

/** The second card of the i9-14900K, a Quadro P620: nothing shares its IDs. */
export const card = '02:00'
export const system = { machine: 'i9-14900k-vmd' } as const
export const modprobe = 'etc/modprobe.d/00-vfio-scripts.conf'

export function expectRan(ran: Ran, code: number, says?: RegExp): void {
  expect(`${ran.stdout}${ran.stderr}`).toMatch(says ?? /./)
  expect(ran.code).toBe(code)
}

/** All but the journal, which stays. */
export const etcOf = (dir: string): string => snapshotOf(join(dir, 'etc'))
