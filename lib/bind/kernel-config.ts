import lt from 'semver/functions/lt.js'
import { DRIVER_SYMBOLS, WANTED, type WantedSymbol } from './kernel-symbols.ts'

/** What hints about one kernel's configuration stand on. */
export interface KernelConfigFacts {
  /** `6.12.1`; `null` when nothing says it. */
  version: string | null
  /** A symbol without CONFIG_; `n` when it is not set. */
  value: (symbol: string) => string
  cpu: 'intel' | 'amd' | null
  /** Is one of the devices a graphics card? */
  graphics: boolean
  /** Can the boot take a graphics card from a driver that is built in, by its address? */
  byAddress: boolean
  /** The modules that could claim the devices. `builtin` of one whose symbol is not known: by modules.builtin. */
  drivers: readonly { module: string; display: boolean; builtin: boolean | null }[]
}

/** Something that a kernel's configuration should say otherwise. All of it takes a new build of the kernel. */
export interface KernelHint {
  /** `CONFIG_VFIO_PCI`; `null` when only the module's name is known. */
  symbol: string | null
  have: string
  want: 'y' | 'm or y' | 'm or n'
  need: 'required' | 'useful'
  why: string
  /** Where `make menuconfig` has it. */
  menu: string
  /** For the source tree, as arguments of scripts/config; `null` when the symbol is not known. */
  command: readonly string[] | null
}

/** What a configuration lacks, required things first. */
export function kernelHints(facts: KernelConfigFacts): KernelHint[] {
  const wanted = WANTED.filter((one) => applies(one, facts)).flatMap((one) => hintFor(one, facts))
  const all = [...wanted, ...facts.drivers.flatMap((driver) => driverHint(driver, facts))]
  return [...all.filter(({ need }) => need === 'required'), ...all.filter(({ need }) => need === 'useful')]
}

function applies({ cpu, from, before, graphics }: WantedSymbol, facts: KernelConfigFacts): boolean {
  if (cpu !== undefined && cpu !== facts.cpu) return false
  if (graphics && !facts.graphics) return false
  if (from === undefined && before === undefined) return true
  if (facts.version === null) return false
  return before === undefined ? !lt(facts.version, from ?? '0.0.0') : lt(facts.version, before)
}

function hintFor(one: WantedSymbol, { value }: KernelConfigFacts): KernelHint[] {
  const have = value(one.symbol)
  if (have === 'y' || (have === 'm' && one.want === 'm') || (one.or && value(one.or) === 'y')) return []
  const replaced = one.legacy === true && value('IOMMUFD') !== 'n' && value('VFIO_DEVICE_CDEV') === 'y'
  const set = one.by ?? one.symbol
  return [
    {
      symbol: `CONFIG_${one.symbol}`,
      have,
      want: one.want === 'y' ? 'y' : 'm or y',
      need: replaced ? 'useful' : one.need,
      why: replaced ? `${one.why}; IOMMUFD is there, which not every program uses yet` : one.why,
      menu: one.menu,
      command: [commandOf(set), set],
    },
  ]
}

function commandOf(symbol: string): string {
  return WANTED.some((one) => one.symbol === symbol && one.want === 'm') ? '--module' : '--enable'
}

function driverHint(
  { module, display, builtin }: KernelConfigFacts['drivers'][number],
  { value, byAddress }: KernelConfigFacts,
): KernelHint[] {
  const known = DRIVER_SYMBOLS[module.replaceAll('-', '_')]
  if (known === undefined ? builtin !== true : value(known.symbol) !== 'y') return []
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
      command: known === undefined ? null : ['--module', known.by ?? known.symbol],
    },
  ]
}

/** All the commands as one line for the source tree, each symbol once; empty when there is nothing to set. */
export function configLine(hints: readonly KernelHint[]): string {
  const commands = new Set(hints.flatMap(({ command }) => (command === null ? [] : [command.join(' ')])))
  return commands.size === 0 ? '' : `scripts/config ${[...commands].join(' ')}`
}
