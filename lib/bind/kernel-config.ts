import lt from 'semver/functions/lt.js'
import { DRIVER_SYMBOLS, KERNEL_SYMBOLS, type KernelSymbol } from './kernel-symbols.ts'

/** The facts that hints about one kernel's configuration are decided on. */
export interface KernelConfigFacts {
  /** The version of the kernel, such as `6.12.1`; `null` when it is unknown. */
  version: string | null
  /** Returns the value of a symbol, which is given without CONFIG_; `n` when it is not set. */
  symbolValue: (symbol: string) => string
  cpu: 'intel' | 'amd' | null
  /** Is one of the devices a graphics card? */
  graphics: boolean
  /** Can the boot script take a graphics card from a built-in driver, by its address? */
  byAddress: boolean
  /** The modules that could claim the devices. `builtin`: by modules.builtin, used where the symbol is unknown. */
  drivers: readonly { module: string; display: boolean; builtin: boolean | null }[]
}

/** A symbol that should have another value in a kernel's configuration. Each hint takes a new build of the kernel. */
export interface KernelHint {
  /** The symbol, such as `CONFIG_VFIO_PCI`; `null` when only the module's name is known. */
  symbol: string | null
  have: string
  want: 'y' | 'm or y' | 'm or n'
  need: 'required' | 'useful'
  why: string
  /** The place of the symbol in `make menuconfig`. */
  menu: string
  /** The arguments of scripts/config in the source tree; `null` when the symbol is not known. */
  command: readonly string[] | null
}

/** Returns a hint for each symbol that a configuration lacks, the required ones first. */
export function kernelHints(facts: KernelConfigFacts): KernelHint[] {
  const required = KERNEL_SYMBOLS.filter((one) => symbolApplies(one, facts)).flatMap((one) => symbolHint(one, facts))
  const all = [...required, ...facts.drivers.flatMap((driver) => driverHint(driver, facts))]
  return [...all.filter(({ need }) => need === 'required'), ...all.filter(({ need }) => need === 'useful')]
}

function symbolApplies({ cpu, from, before, graphics }: KernelSymbol, facts: KernelConfigFacts): boolean {
  if (cpu !== undefined && cpu !== facts.cpu) return false
  if (graphics && !facts.graphics) return false
  if (from === undefined && before === undefined) return true
  if (facts.version === null) return false
  return before === undefined ? !lt(facts.version, from ?? '0.0.0') : lt(facts.version, before)
}

function symbolHint(one: KernelSymbol, { symbolValue }: KernelConfigFacts): KernelHint[] {
  const have = symbolValue(one.symbol)
  if (have === 'y' || (have === 'm' && one.want === 'm') || (one.orSymbol && symbolValue(one.orSymbol) === 'y'))
    return []
  const replaced = one.legacy === true && symbolValue('IOMMUFD') !== 'n' && symbolValue('VFIO_DEVICE_CDEV') === 'y'
  const set = one.setBy ?? one.symbol
  return [
    {
      symbol: `CONFIG_${one.symbol}`,
      have,
      want: one.want === 'y' ? 'y' : 'm or y',
      need: replaced ? 'useful' : one.need,
      why: replaced ? `${one.why}; with IOMMUFD alone QEMU starts guests, libvirt does not (12.8)` : one.why,
      menu: one.menu,
      command: [configCommand(set), set],
    },
  ]
}

function configCommand(symbol: string): string {
  return KERNEL_SYMBOLS.some((one) => one.symbol === symbol && one.want === 'm') ? '--module' : '--enable'
}

function driverHint(
  { module, display, builtin }: KernelConfigFacts['drivers'][number],
  { symbolValue, byAddress }: KernelConfigFacts,
): KernelHint[] {
  const known = DRIVER_SYMBOLS[module.replaceAll('-', '_')]
  if (known === undefined ? builtin !== true : symbolValue(known.symbol) !== 'y') return []
  const first = `${module} is built in and has the device before vfio-pci could`
  const start =
    byAddress && display ? 'it is bound by its address then' : "libvirt (managed='yes') takes it when the guest starts"
  const root = /^(nvme|ahci)$/.test(module)
    ? '; as a module it must be in the initramfs if the root file system is on such a device'
    : ''
  return [
    {
      symbol: known === undefined ? null : `CONFIG_${known.symbol}`,
      have: 'y',
      want: 'm or n',
      need: display && !byAddress ? 'required' : 'useful',
      why: `${first}${display && !byAddress ? '' : `; ${start}`}${root}`,
      menu: known?.menu ?? `the driver whose module is called ${module}`,
      command: known === undefined ? null : ['--module', known.setBy ?? known.symbol],
    },
  ]
}

/** Returns the commands of all hints as one line for the source tree, each once; empty when there is nothing to set. */
export function configLine(hints: readonly KernelHint[]): string {
  const commands = new Set(hints.flatMap(({ command }) => (command === null ? [] : [command.join(' ')])))
  return commands.size === 0 ? '' : `scripts/config ${[...commands].join(' ')}`
}
