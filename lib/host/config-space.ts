import type { Buffer } from 'node:buffer'
import type { PciDevice } from './pci.ts'
import type { Reader } from './reader.ts'

/** The message-signalled interrupts of a function; `null` when its capability list is not readable (without root). */
export interface MessageInterrupts {
  msi: { supported: boolean; enabled: boolean } | null
  msix: { supported: boolean; enabled: boolean } | null
}

/** The power state (`D0`, `D3hot`, `D3cold`, `unknown` …); `null` where the kernel does not say (before Linux 5.10). */
export interface PowerFacts {
  powerState: string | null
  d3coldAllowed: boolean | null
}

const MSI = 0x05
const MSIX = 0x11
const EXPRESS = 0x10
const HEADER = 64
const HEADER_TYPE = 0x0e

/**
 * Returns the first 256 bytes of a function's configuration space, of which users other than root get 64; `undefined`
 * where it may not be read. A sleeping function wakes for it: read its power state before.
 */
export function readConfig(reader: Reader, device: PciDevice): Buffer | undefined {
  return reader.optionalBytes(`${device.path}/config`, 256)
}

/**
 * Returns what a function's configuration space says of MSI and MSI-X.
 * Source: PCI Local Bus Specification 3.0, 6.7 and 6.8.
 */
export function messageInterrupts(reader: Reader, config: Buffer | undefined): MessageInterrupts {
  const capabilities = config === undefined ? undefined : listCapabilities(config)
  // One remark for all functions, since it is the same for each.
  if (config?.length === 64)
    reader.denied.set('config', 'configuration space: cut after 64 bytes, MSI and MSI-X unknown')
  if (config === undefined || capabilities === undefined) return { msi: null, msix: null }
  const interrupt = (id: number, enable: number): { supported: boolean; enabled: boolean } => {
    const at = capabilities.get(id)
    return { supported: at !== undefined, enabled: at !== undefined && (config.readUInt16LE(at + 2) & enable) !== 0 }
  }
  return { msi: interrupt(MSI, 0x0001), msix: interrupt(MSIX, 0x8000) }
}

/**
 * Is this a PCI Express function? `null`: neither its capability list nor the kernel says. Linux shows the speed of a
 * link since 4.13, and only for PCI Express.
 * Source: drivers/pci/pci-sysfs.c, pcie_dev_attrs_are_visible().
 */
export function isExpress(reader: Reader, device: PciDevice): boolean | null {
  if (reader.exists(`${device.path}/current_link_speed`)) return true
  const config = readConfig(reader, device)
  return (config === undefined ? undefined : listCapabilities(config))?.has(EXPRESS) ?? null
}

/**
 * Returns the offset of each capability by its ID; `undefined` when the list leads out of the bytes that could be read
 * (users other than root get the first 64) or does not end.
 */
function listCapabilities(config: Buffer): Map<number, number> | undefined {
  if (config.length < 64) return undefined
  const found = new Map<number, number>()
  const hasList = (config.readUInt16LE(0x06) & 0x0010) !== 0
  // CardBus bridges (header type 2) keep the pointer elsewhere.
  const pointer = ((config[0x0e] ?? 0) & 0x7f) === 2 ? 0x14 : 0x34
  let at = hasList ? (config[pointer] ?? 0) & 0xfc : 0
  for (let steps = 0; at !== 0; steps++) {
    if (steps > 48 || at < 0x40 || at + 4 > config.length) return undefined
    const id = config[at] ?? 0
    // A device that is powered off answers with all ones.
    if (id === 0xff) return undefined
    if (!found.has(id)) found.set(id, at)
    at = (config[at + 1] ?? 0) & 0xfc
  }
  return found
}

/**
 * Does the function answer? A lost function reads ff everywhere, which makes its header type 7f. `null`: its
 * configuration space was not read. Every user may read the bytes that this needs.
 */
export function isResponsive(header: Buffer | undefined): boolean | null {
  if (header === undefined || header.length < HEADER) return null
  return ((header[HEADER_TYPE] ?? 0) & 0x7f) !== 0x7f
}

/** Reads the power state of a function: before its configuration space, which wakes a sleeping one. */
export function readPower(reader: Reader, device: PciDevice): PowerFacts {
  const allowed = reader.optionalText(`${device.path}/d3cold_allowed`)?.trim()
  return {
    powerState: reader.optionalText(`${device.path}/power_state`)?.trim() || null,
    d3coldAllowed: allowed === undefined ? null : allowed === '1',
  }
}
