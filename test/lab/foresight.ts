import { LabError, type Outcome } from './shell.ts'

// What `bind-vfio --predict --json` said of a boot, held against what the kernel did in it.

export interface ForeseenDevice {
  address: string
  driver: string | null
  module: string | null
  certainty: 'certain' | 'may-decline' | 'undecided'
  /** Who else may have it. */
  or: readonly (string | null)[]
  /** The line that decides; null: none does but the kernel's own tables. */
  because: string | null
  /** The lines that look as if they did, and why they do not. */
  without?: readonly string[]
}

/** The entry that the loader starts by itself. */
export interface ForeseenBoot {
  entry: string
  devices: readonly ForeseenDevice[]
}

/** Counts of devices, but for `boots`; `faults` are lines for a person. */
export interface Foresight {
  boots: number
  devices: number
  right: number
  undecided: number
  faults: string[]
}

export const noForesight = (): Foresight => ({ boots: 0, devices: 0, right: 0, undecided: 0, faults: [] })

/**
 * Reads what `bind-vfio --predict --json` said; null for scripts that have no such option. Throws when it failed, or
 * names no default entry.
 */
export function readForesight({ code, stdout, stderr }: Outcome): ForeseenBoot | null {
  if (code === 2 && /--predict: no such option/.test(stderr)) return null
  if (code !== 0) throw new LabError(`bind-vfio --predict: exit code ${code}\n    | ${stderr.trim()}`)
  const { boots } = JSON.parse(stdout) as { boots: (ForeseenBoot & { default: boolean | null })[] }
  const first = boots.find((boot) => boot.default === true)
  if (first === undefined)
    throw new LabError(`bind-vfio --predict: no default entry among ${boots.map(({ entry }) => entry).join(', ')}`)
  return first
}

/**
 * Run in a guest: address, driver and the driver's module of every PCI device, `-` where there is none, and `vf` of a
 * virtual function. Two programs, and not some for each device.
 */
export const lookAtDrivers = `declare -A driver module
while read -r at to; do driver[\${at##*/}]=\${to##*/}; done < <(find /sys/bus/pci/devices/*/driver -printf '%h %l\\n')
while read -r at to; do module[\${at##*/}]=\${to##*/}; done < <(find /sys/bus/pci/drivers/*/module -printf '%h %l\\n')
for device in /sys/bus/pci/devices/*; do
  name=\${driver[\${device##*/}]:--} kind=
  [ -e $device/physfn ] && kind=vf
  echo "\${device##*/} $name \${module[$name]:--} $kind"
done`

const same = (one: string | null, other: string) =>
  one !== null && one.replaceAll('-', '_') === other.replaceAll('-', '_')

/**
 * Compares a foreseen boot with what `lookAtDrivers` printed in it. A driver is known by its own name or by its module's,
 * since the name of a driver that is not loaded stands nowhere. What is undecided is neither right nor wrong, and may be
 * 5 % of the devices.
 */
export function heldAgainst(boot: ForeseenBoot, looked: string): Foresight {
  const result = { ...noForesight(), boots: 1 }
  const left = new Map(boot.devices.map((device) => [device.address, device]))
  for (const line of looked.trim().split('\n')) {
    const [address = '', driver = '-', module = '-', kind] = line.split(' ')
    if (kind === 'vf') continue
    const has = (name: string | null) => (name === null ? driver === '-' : same(name, driver) || same(name, module))
    const device = left.get(address)
    left.delete(address)
    result.devices++
    if (device === undefined) {
      result.faults.push(`${address} has ${driver}: nothing was said of it`)
      continue
    }
    const may = device.certainty === 'certain' ? [device.driver] : [device.driver, ...device.or, null]
    if (device.certainty === 'undecided') result.undecided++
    else if (may.some(has) || same(device.module, module)) result.right++
    else
      result.faults.push(
        `${address} has ${driver}, foreseen ${device.driver} (${device.certainty}): ${device.because ?? 'no line'}`,
      )
  }
  for (const address of left.keys()) result.faults.push(`${address}: foreseen, and not there`)
  if (result.undecided > result.devices * 0.05)
    result.faults.push(`${result.undecided} of ${result.devices} devices are undecided`)
  return result
}

/** Adds a boot to the sum of those before it. */
export function addForesight(sum: Foresight, boot: Foresight): void {
  sum.boots += boot.boots
  sum.devices += boot.devices
  sum.right += boot.right
  sum.undecided += boot.undecided
  sum.faults.push(...boot.faults)
}

export function foresightLine({ devices, right, undecided, faults }: Foresight): string {
  return `prediction: ${devices} devices, ${right} right, ${undecided} undecided${faults.length > 0 ? `, ${devices - right - undecided} wrong` : ''}`
}
