import { UserError } from '../core/error.ts'
import { isVfio } from '../host/pci.ts'
import { openReader } from '../host/sysroot.ts'
import type { DriverChange } from './plan.ts'
import { runCommand } from './run.ts'
import type { PlannedSetting } from './settings.ts'
import { SYSFS_SECONDS, writeAttribute } from './sysfs.ts'

const PCI = '/sys/bus/pci'

/** Returns the driver that a function of the running system is bound to; `null` without one. */
export function readDriver(address: string): string | null {
  return openReader('/').linkName(`${PCI}/devices/${address}/driver`) ?? null
}

/** Returns the setting that stands for a driver change in the journal: the kernel keeps it, the function owns it. */
export function driverSetting({ address, after, reason }: DriverChange): PlannedSetting {
  return { kind: 'external', tool: 'driver', path: '', token: after ?? '', reason, owners: [address] }
}

/**
 * Binds a function of the running system to `driver` (`null`: to none), and checks that it is bound to that one. The
 * override is set before the unbinding, so that no other driver takes the device in between; that of a host driver is
 * cleared at the end. A function that has the driver already is not unbound.
 * Throws a UserError: `no-override`, `stuck` (the present driver does not let go), `unwritable`, `not-bound`.
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
    await runCommand(['modprobe', driver], { root: '/', seconds: SYSFS_SECONDS })
  if (driver !== null) await writeAttribute(`${device}/driver_override`, driver)
  if (present !== driver) {
    if (present !== null) await writeAttribute(`${PCI}/drivers/${present}/unbind`, address)
    if (driver !== null) await writeAttribute(`${PCI}/drivers_probe`, address)
  }
  const until = Date.now() + SYSFS_SECONDS * 1000
  while (readDriver(address) !== driver && Date.now() < until) await new Promise((wake) => setTimeout(wake, 100))
  if (!isVfio(driver)) await writeAttribute(`${device}/driver_override`, '')
  const now = readDriver(address)
  if (now !== driver)
    throw new UserError(
      'not-bound',
      `${address}: is on ${now ?? 'no driver'}, not on ${driver ?? 'none'}; see the kernel log`,
    )
}
