import { parseSelector, selectDevices } from '../bind/select.ts'
import type { BoundFunction } from '../change/journal-entry.ts'
import { UserError } from '../core/error.ts'
import type { Finding } from '../core/finding.ts'
import type { PciFacts } from '../host/machine.ts'
import { cardOf, type PciDevice, slotOf } from '../host/pci.ts'
import type { Arguments } from '../terminal/options.ts'
import type { Context } from './run-script.ts'

/** Returns the devices that the arguments name. Throws a UserError: `no-device` for one that names nothing, `usage`. */
export function requestedDevices(pci: PciFacts, given: Arguments): PciDevice[] {
  return findRequestedDevices(pci, given.operands)
}

/** Returns the devices that these texts name. Throws a UserError: `no-device` for one that names nothing, `usage`. */
export function findRequestedDevices(pci: PciFacts, texts: readonly string[]): PciDevice[] {
  if (texts.length === 0) return []
  const devices = texts.map(parseSelector)
  const filter = { classes: [], ids: [], drivers: [], groups: [], devices, withGroup: false, card: false }
  const { devices: requested, missing } = selectDevices(pci.devices, filter)
  const [first] = missing
  if (first !== undefined)
    throw new UserError('no-device', `${first}: no such device on this machine; list-iommu shows what there is`)
  // Bridges that come along with a group stay with the host; one that is named itself is a guard's business.
  const named = devices.filter(({ text }) => !text.startsWith('group:'))
  return requested.filter((device) => !device.bridge || named.some(({ matches }) => matches(device)))
}

/** Throws a UserError with the code of the first guard that refuses and is not overridden by its name (`--force`). */
export function refuse(findings: readonly Finding[], given: Arguments): void {
  const problems = findings.filter(
    ({ state, code, forceable }) => state === 'problem' && !(forceable && given.list('force').includes(code)),
  )
  const [first, ...more] = problems
  if (first === undefined) return
  const lines = [...first.evidence, ...(first.next === null ? [] : [`→ ${first.next}`])]
  const others = more.flatMap(({ code, summary, evidence, next }) => [
    `also refused (${code}): ${summary}`,
    ...evidence,
    ...(next === null ? [] : [`→ ${next}`]),
  ])
  const override = problems.every(({ forceable }) => forceable)
    ? `; ${problems.map(({ code }) => `--force ${code}`).join(' ')} overrides`
    : ''
  throw new UserError(first.code, `refused (${first.code}): ${first.summary}${override}`, [...lines, ...others])
}

/** Returns the bound addresses that the arguments name, or all. Throws a UserError with code `no-device`. */
export function requestedAddresses(functions: readonly BoundFunction[], given: Arguments, script: string): string[] {
  if (given.operands.length === 0) return functions.map(({ address }) => address)
  return given.operands.flatMap((text) => {
    const { matches } = parseSelector(text)
    const found = functions.filter(({ address, vendor, device, card }) =>
      matches({ address, vendor: { id: vendor }, device: { id: device }, card, group: null } as PciDevice),
    )
    if (found.length === 0) throw new UserError('no-device', `${text}: not bound by ${script}; --status shows what is`)
    return found.map(({ address }) => address)
  })
}

/** Returns the ID of the present boot; `null` where the system does not run, or gives none. */
export function readBootId({ machine }: Context): string | null {
  return machine.running ? (machine.reader.optionalText('/proc/sys/kernel/random/boot_id') ?? null) : null
}

/** Returns a device as the journal keeps it; `twins` are the addresses of other devices with the same ID. */
export function toBoundFunction(one: PciDevice, all: readonly PciDevice[]): BoundFunction {
  const { address, vendor, device, subsystem, driver } = one
  const board = subsystem === null ? null : `${subsystem.vendor}:${subsystem.device}`
  const equalCards = all.filter(
    (other) => other !== one && other.vendor.id === vendor.id && other.device.id === device.id,
  )
  const places = equalCards.map((equalCard) => equalCard.address)
  const elsewhere = one.physicalFunction === null && slotOf(address) !== cardOf(one) ? { card: cardOf(one) } : {}
  return { address, vendor: vendor.id, device: device.id, subsystem: board, driver, ...elsewhere, twins: places }
}
