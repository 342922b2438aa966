// How many times list-iommu asks the file system for a device: on thousands of them that is what people wait for.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { newFolder } from '../support/expect.ts'
import { generateMachine, writeMachine } from '../support/machine.ts'
import { needs } from '../support/needs.ts'
import { PROJECT, runProgram, works } from '../support/run.ts'

const CALLS = ['open', 'openat', 'read', 'pread64', 'close', 'stat', 'lstat', 'fstat', 'newfstatat', 'statx', 'access']
const MORE = ['faccessat', 'faccessat2', 'readlink', 'readlinkat', 'getdents64']

/** The file system calls of one run on a machine with that many devices. */
function callsOn(script: string, devices: number): string[] {
  const root = newFolder()
  writeMachine(generateMachine(devices), root)
  const log = join(newFolder(), 'strace')
  const known = [...CALLS, ...MORE].map((name) => `?${name}`).join(',')
  const traced = ['-f', '-qq', '-e', `trace=${known}`, '-e', 'signal=none', '-o', log]
  const ran = runProgram('strace', [...traced, process.execPath, `${PROJECT}scripts/${script}.mjs`, '--root', root])
  expect(ran.stderr).not.toMatch(/strace:/)
  // What Node itself and the tables of names ask is the same for any number of devices.
  return readFileSync(log, 'utf8').trim().split('\n')
}

const traces = needs('strace, and a kernel that lets it trace', works('strace', '-qq', '-o', '/dev/null', 'true'))

traces.it.each([
  ['list-iommu', 16.6],
  ['check-reset', 23],
])('%s makes at most %d calls a device', (script, most) => {
  const [few, many] = [200, 400]
  const each = (callsOn(script, many).length - callsOn(script, few).length) / (many - few)
  expect(each).toBeGreaterThan(1)
  expect(each).toBeLessThanOrEqual(most)
})

traces.it('check-reset reads how a device sleeps before what wakes it', () => {
  const calls = callsOn('check-reset', 40)
  const first = (file: string): Map<string, number> => {
    const found = new Map<string, number>()
    calls.forEach((line, at) => {
      const path = new RegExp(`"([^"]*)/${file}"`).exec(line)?.[1]
      if (path !== undefined && !found.has(path)) found.set(path, at)
    })
    return found
  }
  const states = first('power_state')
  expect(states.size).toBeGreaterThan(5)
  const configs = first('config')
  for (const [path, at] of states) expect(configs.get(path)).toBeGreaterThan(at)
})
