// A machine to break, and what its whole listing is.
import { realpathSync } from 'node:fs'
import { newFolder, type ScriptName } from './expect.ts'
import { loadMachine, machineDir, writeMachine } from './machine.ts'
import { type Ran, runScript } from './run.ts'

export const MACHINE = 'i9-14900k-vmd'
export const GPU = '0000:02:00.0'
export const GPU_PATH = '/sys/devices/pci0000:00/0000:00:1a.0/0000:02:00.0'

/** A machine of one test's own. */
export function brokenMachine(breakIt: (dir: string) => void): string {
  const dir = realpathSync(newFolder())
  writeMachine(loadMachine(MACHINE), dir)
  breakIt(dir)
  return dir
}

export const listing = (script: ScriptName, dir: string): Ran => runScript(script, ['--machine', dir, '--json'])

/** The listings of the unbroken machine. */
export const whole: Record<ScriptName, Ran> = {
  'list-iommu': listing('list-iommu', machineDir(MACHINE)),
  'check-reset': listing('check-reset', machineDir(MACHINE)),
}

export const addressesIn = (ran: Ran): string[] =>
  [...ran.stdout.matchAll(/"address": "(.*)"/g)].map((match) => String(match[1])).sort()
