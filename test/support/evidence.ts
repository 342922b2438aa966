// What the tests of resets and of the kernel's evidence share: a fake machine that is changed first, and what
// check-reset, check-host and gen-domain say of it.

import type { Finding } from '../../lib/core/finding.ts'
import type { CheckReset } from '../../scripts/check-reset.mts'
import { domainHost, genDomain } from './domain.ts'
import { loadMachine, type Machine, scratchDir, writeMachine } from './machine.ts'
import { type Ran, runScript } from './run.ts'

/** The second card of `i9-14900k-vmd`, which is for guests. */
export const QUADRO = '0000:02:00.0'

export type Card = CheckReset['cards'][number]

export function tree(name: string, change: (machine: Machine) => void): string {
  const machine = loadMachine(name)
  change(machine)
  const dir = scratchDir('evidence')
  writeMachine(machine, dir)
  return dir
}

export function reset(dir: string, ...args: string[]): CheckReset & Pick<Ran, 'code' | 'stderr'> {
  const ran = runScript('check-reset', ['--machine', dir, '--root', dir, '--json', ...args])
  return { code: ran.code, stderr: ran.stderr, ...JSON.parse(ran.stdout) }
}

/** check-host's findings of a device, by their codes. */
export function check(dir: string, device: string): (code: string) => Finding | undefined {
  const ran = runScript('check-host', ['--root', dir, '--device', device, '--json'])
  const findings: Finding[] = JSON.parse(ran.stdout).findings
  return (code) => findings.find((each) => each.code === code)
}

/** gen-domain for a Linux guest. */
export const create = (change: (machine: Machine) => void, ...args: string[]): Ran =>
  genDomain(domainHost(change), '--name', 'x', '--guest', 'linux', ...args)
