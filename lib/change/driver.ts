import { UserError } from '../core/error.ts'
import { isVfio } from '../host/pci.ts'
import { openReader } from '../host/sysroot.ts'
import type { DriverChange } from './plan.ts'
import { runCommand } from './run.ts'
import type { PlannedSetting } from './settings.ts'

const PCI = '/sys/bus/pci'
/** How long a driver may take to let go of a device, or to take it. */
const SECONDS = 30

/** Who has a function of the running system: `null` without a driver. */
export function readDriver(address: string): string | null {
  return openReader('/').linkName(`${PCI}/devices/${address}/driver`) ?? null
}

/** What a change of a function's driver is in the journal: a setting that the kernel keeps, for that function. */
export function driverSetting({ address, after, reason }: DriverChange): PlannedSetting {
  return { kind: 'external', tool: 'driver', path: '', token: after ?? '', reason, owners: [address] }
}

/**
 * Gives a function of the running system to `driver` (`null`: to none), and sees that just this one has it. The
 * override comes before the unbinding, so that no other driver takes the device in between; a host driver's is cleared
 * at the end, as it was. Nothing happens to a function that has the driver already.
 * Throws a UserError with code `no-override`, `stuck` (the present driver does not let go) or `not-bound`.
 * Source: Documentation/ABI/testing/sysfs-bus-pci (driver_override, drivers_probe).
 */
export async function changeDriver(address: string, driver: string | null): Promise<void> {
  const device = `${PCI}/devices/${address}`
  const present = readDriver(address)
  const reader = openReader('/')
  if (!reader.exists(`${device}/driver_override`))
    throw new UserError(
      'no-override',
      `${address}: this kernel has no driver_override (Linux 3.16 has); bind at boot instead`,
    )
  if (driver !== null && !reader.exists(`${PCI}/drivers/${driver}`))
    await runCommand(['modprobe', driver], { root: '/', seconds: SECONDS })
  if (driver !== null) await writeAttribute(`${device}/driver_override`, driver)
  if (present !== driver) {
    if (present !== null) await writeAttribute(`${PCI}/drivers/${present}/unbind`, address)
    if (driver !== null) await writeAttribute(`${PCI}/drivers_probe`, address)
  }
  const until = Date.now() + SECONDS * 1000
  while (readDriver(address) !== driver && Date.now() < until) await new Promise((wake) => setTimeout(wake, 100))
  if (!isVfio(driver)) await writeAttribute(`${device}/driver_override`, '')
  const now = readDriver(address)
  if (now !== driver)
    throw new UserError(
      'not-bound',
      `${address}: is on ${now ?? 'no driver'}, not on ${driver ?? 'none'}; see the kernel log`,
    )
}

/** Writing to sysfs may hang in the kernel: another process does it, and is left behind when it does not come back. */
async function writeAttribute(path: string, text: string): Promise<void> {
  const argv = ['sh', '-c', 'printf "%s\\n" "$1" >"$2"', 'sh', text, path]
  const { code, output } = await runCommand(argv, { root: '/', seconds: SECONDS })
  if (code === 0) return
  if (code === null)
    throw new UserError(
      'stuck',
      `${path}: no answer after ${SECONDS} s: the driver does not let go, and only a reboot may help`,
    )
  throw new UserError('unwritable', `${path}: ${output.trim().split(': ').at(-1) ?? 'cannot be written'}`)
}
