import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { lookAtDrivers } from './foresight.ts'
import type { Guest } from './guest.ts'
import { LabError, lastLines } from './shell.ts'

/** Fails with both texts' first line that differs. */
export function expectSame(what: string, actual: string, expected: string): void {
  if (actual === expected) return
  const ours = actual.split('\n')
  const theirs = expected.split('\n')
  const at = theirs.findIndex((line, index) => line !== ours[index])
  const index = at === -1 ? theirs.length : at
  throw new LabError(
    `${what}: line ${index + 1} differs (${ours.length} lines, expected ${theirs.length})\n    is       ${JSON.stringify(ours[index] ?? null)}\n    expected ${JSON.stringify(theirs[index] ?? null)}`,
  )
}

/** Fails unless the command ended with this code and, if given, said something that matches. */
export function expectCode(
  what: string,
  result: { code: number; stdout: string; stderr: string },
  code: number,
  says?: RegExp,
): void {
  const text = result.stdout + result.stderr
  if (result.code !== code)
    throw new LabError(`${what}: exit code ${result.code}, expected ${code}\n${lastLines(text, 10)}`)
  if (says !== undefined && !says.test(text))
    throw new LabError(`${what}: does not say ${says}\n${lastLines(text, 10)}`)
}

/** Who has which device in a guest, and what the kernel log says about how it came to that. */
export interface Drivers {
  /** By address; '' for a device without a driver. */
  driver: ReadonlyMap<string, string>
  log: string
  commandLine: string
}

const look = `
${lookAtDrivers}
cat /proc/cmdline >out/cmdline
dmesg >out/dmesg`

export async function driversOf(guest: Guest): Promise<Drivers> {
  const result = await guest.run(look)
  expectCode('looking at the drivers', result, 0)
  const lines = result.stdout.trim().split('\n')
  const read = (name: string) => readFileSync(join(result.files, name), 'utf8')
  return {
    driver: new Map(
      lines.map((line) => line.split(' ')).map(([address = '', name]) => [address, name === '-' ? '' : (name ?? '')]),
    ),
    log: read('dmesg'),
    commandLine: read('cmdline').trim(),
  }
}

/** Fails unless each of these devices has the driver named for it, with what the kernel log says of those that do not. */
export function expectDrivers(drivers: Drivers, expected: Readonly<Record<string, string>>): void {
  const wrong = Object.entries(expected).filter(([address, driver]) => drivers.driver.get(address) !== driver)
  if (wrong.length === 0) return
  const lines = wrong.map(([address, driver]) => {
    const log = drivers.log.split('\n').filter((line) => line.includes(address) || line.includes(driver))
    const has = JSON.stringify(drivers.driver.get(address) ?? 'no such device')
    return [`${address} has ${has}, expected ${driver}`, ...log.slice(-20)].join('\n      ')
  })
  throw new LabError(lines.join('\n    '))
}

/**
 * Fails if one of these drivers was ever asked to take the device since the kernel started, whether it did or not. The
 * guests log each call of really_probe (drivers/base/dd.c); the log has to reach back to its first line.
 */
export function expectNeverProbed(drivers: Drivers, address: string, ...hostDrivers: string[]): void {
  const lines = drivers.log.split('\n')
  const probes = lines.filter((line) => line.includes('really_probe: probing driver '))
  if (!lines[0]?.includes('Linux version') || probes.length === 0) {
    throw new LabError('the kernel log does not name every probe since its start')
  }
  for (const driver of hostDrivers) {
    const probe = probes.find((line) => line.includes(`probing driver ${driver} with device ${address}`))
    if (probe !== undefined) throw new LabError(`${address} was probed by ${driver}: ${probe}`)
  }
}
