import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { grubArguments, readGrubDefaults } from '../../distros/boot/grub-defaults.ts'
import { openReader } from '../../lib/host/sysroot.ts'
import { type Ran, runScript } from './run.ts'
import { snapshotOf } from './system.ts'

// What the tests share of the scripts that change a system, the one at `dir`.

export const bind = (dir: string, ...args: string[]): Ran => runScript('bind-vfio', ['--root', dir, ...args])
export const override = (dir: string, ...args: string[]): Ran =>
  runScript('override-same-id-gpu', ['--root', dir, ...args])
export const tune = (dir: string, ...args: string[]): Ran => runScript('tune-host', ['--root', dir, ...args])
/** Files are written; the commands that would follow are printed. */
export const write = ['--apply', '--no-commands'] as const
export const apply = (dir: string, ...args: string[]): Ran => bind(dir, ...args, ...write)
export const undo = (dir: string, ...args: string[]): Ran => bind(dir, ...args, '--undo', ...write)

/** The second card of the i9-14900K, a Quadro P620: nothing shares its IDs. */
export const card = '02:00'
export const system = { machine: 'i9-14900k-vmd' } as const
export const modprobe = 'etc/modprobe.d/00-vfio-scripts.conf'

export function expectRan(ran: Ran, code: number, says?: RegExp): void {
  expect(`${ran.stdout}${ran.stderr}`).toMatch(says ?? /./)
  expect(ran.code).toBe(code)
}

/** tune-host refuses to write this: exit 2, what it `says` on standard error, and nothing below the root is another. */
export function expectRefused(dir: string, args: readonly string[], says: RegExp | string): void {
  const before = snapshotOf(dir)
  const ran = tune(dir, ...args, ...write)
  expect(ran.stderr).toMatch(says)
  expect(ran).toMatchObject({ code: 2, stdout: '' })
  expect(snapshotOf(dir)).toBe(before)
}

/** All is written; where commands were printed only, they are still to be run. */
export function expectSettled(dir: string, ...args: string[]): void {
  const plan = JSON.parse(bind(dir, ...args, '--json').stdout) as { changes: { sign: string }[] }
  expect(plan.changes.filter(({ sign }) => sign !== '>')).toEqual([])
}

/** Does what update-grub does with the menu of a Debian from test/support/families.ts; nothing where there is none. */
export function updateGrub(dir: string): void {
  const path = join(dir, 'boot/grub/grub.cfg')
  if (!existsSync(path)) return
  const tokens = grubArguments(readGrubDefaults(openReader(dir))).map(({ token }) => token)
  const menu = readFileSync(path, 'utf8')
  writeFileSync(path, menu.replace(/( ro) (?!single).*$/gm, `$1 ${tokens.join(' ')}`))
}

/** All but the journal, which stays. */
export const etcOf = (dir: string): string => snapshotOf(join(dir, 'etc'))
