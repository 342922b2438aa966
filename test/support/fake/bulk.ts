// Files of realistic size for the bench: modules.alias and pci.ids, filled up with made-up entries.
import type { Machine } from '../machine.ts'
import { hex } from './place.ts'

/** Number `n` of a sequence that looks random and is always the same. */
function scramble(n: number): number {
  return Math.imul(n + 1, 2654435761) >>> 0
}

/** modules.alias of that many lines: the machine's own aliases, spread among those of a distribution kernel. */
export function manyAliases(machine: Machine, lines: number): string {
  const own = Object.entries(machine.modules ?? {}).flatMap(([module, patterns]) =>
    patterns.map((pattern) => `alias ${pattern} ${module}`),
  )
  const text = ['# Aliases extracted from modules themselves.']
  const every = Math.floor(lines / (own.length + 1))
  for (let n = 1; n < lines; n++) {
    const mine = n % every === 0 ? own.shift() : undefined
    text.push(mine ?? `alias ${madeUpAlias(n)}`)
  }
  return `${text.join('\n')}\n`
}

/** Two fifths PCI, the rest USB, device tree, ACPI and HID, as in a distribution's kernel. */
function madeUpAlias(n: number): string {
  const value = scramble(n)
  const id = hex(value & 0xffff, 4)
  const upper = id.toUpperCase()
  const module = `module_${hex((value >>> 20) & 0xfff, 3)}`
  // Vendor IDs from e000 up are nobody's.
  const vendor = `E${hex((value >>> 16) & 0xfff, 3).toUpperCase()}`
  if (n % 5 === 0) return `pci:v0000${vendor}d0000${upper}sv*sd*bc*sc*i* ${module}`
  if (n % 5 === 1) return `pci:v0000${vendor}d0000${upper}sv0000${vendor}sd0000${upper}bc*sc*i* ${module}`
  if (n % 5 === 2) return `usb:v${vendor}p${upper}d*dc*dsc*dp*ic*isc*ip*in* ${module}`
  if (n % 5 === 3) return `of:N*T*Cvendor,chip-${id}C* ${module}`
  return n % 2 === 0 ? `acpi*:ABCD${upper}:* ${module}` : `hid:b0003g*v0000${vendor}p0000${upper} ${module}`
}

/** pci.ids of about that many bytes: vendors of twenty devices with two subsystems each, this machine's among them. */
export function manyNames(machine: Machine, bytes: number): string {
  const own = new Map<string, Set<string>>()
  for (const { id } of Object.values(machine.devices)) {
    const [vendor = '', device = ''] = id.split(':')
    own.set(vendor, (own.get(vendor) ?? new Set()).add(device))
  }
  const text = ['# Made-up names, in the format and of the size of pci.ids', '']
  let size = 0
  const add = (line: string): void => {
    text.push(line)
    size += line.length + 1
  }
  // About 1,500 bytes a vendor.
  const vendors = new Set([...own.keys(), ...Array.from({ length: bytes / 2000 }, (_, n) => hex(n * 29 + 1, 4))])
  for (const vendor of [...vendors].sort()) {
    add(`${vendor}  Vendor ${vendor} Corporation`)
    const devices = Array.from({ length: 20 }, (_, n) => hex(scramble(n) & 0xffff, 4))
    for (const device of [...new Set([...(own.get(vendor) ?? []), ...devices])].sort()) {
      add(`\t${device}  Controller ${device} [Product ${device}]`)
      add(`\t\t${vendor} 0001  Board ${device} of its maker`)
      if (size < bytes) add(`\t\t${vendor} 0002  Second board ${device} of its maker`)
    }
  }
  text.push('', 'C 01  Mass storage controller', '\t08  Non-Volatile memory controller', '\t\t02  NVM Express')
  text.push('C 02  Network controller', '\t00  Ethernet controller', 'C 03  Display controller')
  text.push('\t00  VGA compatible controller', 'C 04  Multimedia controller', '\t03  Audio device', 'C 06  Bridge')
  text.push(
    '\t00  Host bridge',
    '\t01  ISA bridge',
    '\t04  PCI bridge',
    'C 0c  Serial bus controller',
    '\t03  USB controller',
  )
  return `${text.join('\n')}\n`
}
