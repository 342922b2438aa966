import { type Finding, problemResult, toFinding } from '../core/finding.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import { cpuVendor } from '../host/kernel.ts'
import { type KernelConfig, readKernelConfigs } from '../host/kernel-configs.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { configLine, type KernelHint, kernelHints } from './kernel-config.ts'
import { withoutNested } from './plan-binding.ts'

/** One configuration and what it lacks. */
export interface KernelReport {
  path: string
  /** The installed kernel that it is of; `null`: of a source tree. */
  release: string | null
  version: string | null
  hints: KernelHint[]
}

export interface KernelReports {
  reports: KernelReport[]
  /** Installed kernels whose configuration was found nowhere. */
  withoutConfig: string[]
  /** `null`: it was not looked for what this CPU needs. */
  cpu: 'intel' | 'amd' | null
}

/** Can the boot take a device by its address, before a driver that is built in? */
export function canBindByAddress({ distro, initramfs }: Pick<SystemFacts, 'distro' | 'initramfs'>): boolean {
  return distro.adapter?.declarative !== undefined || initramfs.adapter?.bootScriptLocation() !== undefined
}

/**
 * Says what the installed kernels and the source tree lack for a binding of these devices. `readModules` looks up the
 * modules that a kernel's own tables name for each of them.
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
 * For a plan: a problem for each required thing that every installed kernel lacks something of, by the last of them;
 * a note for kernels that lack something when another does not.
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
  const findings = required.map(
    (hint, index): Finding =>
      toFinding(
        { code: 'kernel-config' },
        problemResult(hintText(hint), [`${last.path}: ${hint.why}`], index === required.length - 1 ? next : null),
      ),
  )
  return { findings, notes: [] }
}

/** A source tree that lacks nothing only has to be built. */
export function builtAlready(reports: readonly KernelReport[]): string | undefined {
  const tree = reports.find((one) => one.release === null && !isLacking(one))
  return tree && `${tree.path} has it: build and install that kernel, and reboot`
}

/** Does one of the installed kernels, or the source tree, lack something that is required? */
export function lacksAnything(reports: readonly KernelReport[]): boolean {
  return reports.some(isLacking)
}

export function reportTitle({ release, version, path }: KernelReport): string {
  return release === null ? `The source tree (Linux ${version ?? '?'}, ${path})` : `Linux ${release}`
}

function requiredSymbols({ hints }: KernelReport): string {
  const required = hints.filter(({ need }) => need === 'required')
  return required.map(({ symbol, why }) => symbol ?? why).join(', ')
}

/** `CONFIG_VFIO_PCI is not set, wanted: m or y`. */
export function hintText({ symbol, have, want, why }: KernelHint): string {
  if (symbol === null) return why
  return `${symbol} ${have === 'n' ? 'is not set' : `is ${have}`}, wanted: ${want.replace('n', 'not set')}`
}
