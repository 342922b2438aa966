import { type Finding, problemResult, toFinding } from '../core/finding.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import { cpuVendor } from '../host/kernel.ts'
import { type KernelConfig, readKernelConfigs } from '../host/kernel-configs.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { configLine, type KernelHint, kernelHints } from './kernel-config.ts'
import { withoutNested } from './plan-binding.ts'

/** A kernel configuration, with a hint for each symbol that it lacks. */
export interface KernelReport {
  path: string
  /** The release of the installed kernel that has it; `null`: it is that of a source tree. */
  release: string | null
  version: string | null
  hints: KernelHint[]
}

export interface KernelReports {
  reports: KernelReport[]
  /** Installed kernels whose configuration was found nowhere. */
  withoutConfig: string[]
  /** The vendor of the CPU; `null`: symbols for a certain vendor were not looked for. */
  cpu: 'intel' | 'amd' | null
}

/** Can the next boot bind a device by its address, even where a built-in driver exists? */
export function canBindByAddress({ distro, initramfs }: Pick<SystemFacts, 'distro' | 'initramfs'>): boolean {
  return distro.adapter?.declarative !== undefined || initramfs.adapter?.bootScriptLocation() !== undefined
}

/**
 * Reports the symbols that the installed kernels and the source tree lack for a binding of the selected devices.
 * `readModules` looks up the modules that a kernel's own tables name for each device.
 */
export function readKernelReports(
  facts: Pick<SystemFacts, 'host' | 'distro' | 'initramfs'>,
  selected: readonly PciDevice[],
  readModules: (devices: readonly PciDevice[]) => (kernel: Kernel) => (string[] | null)[],
): KernelReports {
  const { host } = facts
  const { files, kernels } = host
  const byAddress = selected.length > 0 && canBindByAddress(facts)
  const bound = withoutNested(selected)
  const candidateModules = readModules(bound)
  const own = host.running || host.machine.root === files.root
  const releases = kernels.map(({ release }) => release)
  const { known, unknown } = readKernelConfigs(files, own ? host.machine : undefined, releases)
  const cpu = cpuVendor(host.machine)
  const report = ({ path, release, version, value }: KernelConfig): KernelReport => {
    const used = kernels.filter((kernel) => release === null || kernel.release === release)
    const drivers = bound.flatMap((device, index) => {
      const current = device.driver === null ? [] : [device.driver]
      const claims = used.flatMap((kernel) => candidateModules(kernel)[index] ?? device.modules ?? [])
      const names = [...new Set(claims.length > 0 ? claims : current)].filter((name) => !isVfio(name))
      return names.map((module) => ({ module, display: isDisplay(device), builtin: builtinIn(used, release, module) }))
    })
    const each = drivers.filter(({ module }, index) => drivers.findIndex((one) => one.module === module) === index)
    const hints = kernelHints({
      version,
      symbolValue: value,
      cpu,
      byAddress,
      graphics: bound.some(isDisplay),
      drivers: each,
    })
    return { path, release, version, hints }
  }
  return { reports: known.map(report), withoutConfig: unknown, cpu }
}

function builtinIn(kernels: readonly Kernel[], release: string | null, module: string): boolean | null {
  return release === null ? null : kernels.some((kernel) => kernel.provides(module) === 'builtin')
}

function isLacking({ hints }: KernelReport): boolean {
  return hints.some(({ need }) => need === 'required')
}

/**
 * Returns findings and notes for a plan. Where every installed kernel lacks a required symbol: one problem, with each
 * that the last kernel lacks. Where only some do: a note for each of those. `rebuild`: the way to get another kernel.
 */
export function kernelFindings(
  { reports, withoutConfig }: KernelReports,
  rebuild: string | undefined,
): { findings: Finding[]; notes: string[] } {
  const installed = reports.filter(({ release }) => release !== null)
  const lacking = installed.filter(isLacking)
  const last = lacking.at(-1)
  if (last === undefined) return { findings: [], notes: [] }
  if (lacking.length < installed.length || withoutConfig.length > 0)
    return {
      findings: [],
      notes: lacking.map((one) => `${reportTitle(one)} lacks ${requiredSymbols(one)}: --kernel-config says more.`),
    }
  const required = last.hints.filter(({ need }) => need === 'required')
  const built = builtAlready(reports)
  const next =
    built ??
    `${configLine(required) || 'see --kernel-config'}, and build and install the kernel${rebuild === undefined ? '' : ` (${rebuild})`}; --kernel-config says more`
  const [first, ...more] = required.map((hint) => ({ text: hintText(hint), why: `${last.path}: ${hint.why}` }))
  const said = more.length === 0 ? first : undefined
  const summary = said?.text ?? `${reportTitle(last)} was built without what guests need`
  const evidence =
    said === undefined ? required.map((hint) => `${last.path}: ${hintText(hint)}; ${hint.why}`) : [said.why]
  const finding = toFinding({ code: 'kernel-config' }, problemResult(summary, evidence, next))
  return { findings: [finding], notes: [] }
}

/** Returns the advice to build the source tree, where that lacks no required symbol. */
function builtAlready(reports: readonly KernelReport[]): string | undefined {
  const tree = reports.find((one) => one.release === null && !isLacking(one))
  return tree && `${tree.path} has it: build and install that kernel, and reboot`
}

/** Does an installed kernel or the source tree lack a required symbol? */
export function lacksAnything(reports: readonly KernelReport[]): boolean {
  return reports.some(isLacking)
}

/** Returns the name of the report's kernel: `Linux 6.12.1`, or that of the source tree. */
export function reportTitle({ release, version, path }: KernelReport): string {
  return release === null ? `The source tree (Linux ${version ?? '?'}, ${path})` : `Linux ${release}`
}

function requiredSymbols({ hints }: KernelReport): string {
  const required = hints.filter(({ need }) => need === 'required')
  return required.map(({ symbol, why }) => symbol ?? why).join(', ')
}

/** Returns the text of a hint: `CONFIG_VFIO_PCI is not set, wanted: m or y`. */
export function hintText({ symbol, have, want, why }: KernelHint): string {
  if (symbol === null) return why
  return `${symbol} ${have === 'n' ? 'is not set' : `is ${have}`}, wanted: ${want.replace('n', 'not set')}`
}
