// A machine to break, and what its whole listing is.
import { readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { newFolder, type ScriptName } from './expect.ts'
import { loadMachine, type Machine, writeMachine } from './machine.ts'
import { type Ran, runScript } from './run.ts'

export const GPU = '0000:02:00.0'
export const GPU_PATH = '/sys/devices/pci0000:00/0000:00:1a.0/0000:02:00.0'

/** Part of a real machine: two graphics cards, USB, NVMe behind VMD in a domain of its own. */
export function smallMachine(): Machine {
  const machine = loadMachine('i9-14900k-vmd')
  for (const address of Object.keys(machine.devices)) {
    if (/^0000:(03|00:(?!00\.0|01|0e|14\.0|1a))/.test(address)) delete machine.devices[address]
  }
  return machine
}

/** A machine of one test's own. */
export function brokenMachine(breakIt: (dir: string) => void): string {
  const dir = realpathSync(newFolder())
  writeMachine(smallMachine(), dir)
  breakIt(dir)
  return dir
}

/** Gives the GPU another link to its group; the folder of the group that names it would answer instead. */
export function linkGroup(dir: string, target: string): void {
  const groups = `${dir}/sys/kernel/iommu_groups`
  for (const group of readdirSync(groups)) rmSync(`${groups}/${group}/devices/${GPU}`, { force: true })
  rmSync(`${dir}${GPU_PATH}/iommu_group`)
  symlinkSync(target, `${dir}${GPU_PATH}/iommu_group`)
}

export const listing = (script: ScriptName, dir: string): Ran => runScript(script, ['--machine', dir, '--json'])

/** The listings of the unbroken machine. */
const unbroken = brokenMachine(() => {})
export const whole: Record<ScriptName, Ran> = {
  'list-iommu': listing('list-iommu', unbroken),
  'check-reset': listing('check-reset', unbroken),
}

export const addressesIn = (ran: Ran): string[] =>
  [...ran.stdout.matchAll(/"address": "(.*)"/g)].map((match) => String(match[1])).sort()
