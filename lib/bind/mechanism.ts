import lt from 'semver/functions/lt.js'
import { UserError } from '../core/error.ts'
import { hasArgument } from '../edit/kernel-arguments.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { IommuState } from '../host/iommu.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import type { BootScriptLocation, Host } from '../system/system.ts'

/** The way by which one function gets to the guest. */
export interface FunctionBinding {
  device: PciDevice
  /**
   * `id`: vfio-pci takes the function by its ID at boot. `address`: the boot script gives vfio-pci that one function.
   * `start`: libvirt (managed='yes') takes it when the guest starts.
   */
  boundBy: 'id' | 'address' | 'start'
  /** The vendor and device ID: `10de:1cb6`. */
  id: string
  /** The loadable modules that could claim the function, in any installed kernel. */
  modules: string[]
}

export interface Mechanism {
  /** The driver that holds devices for guests. */
  module: 'vfio-pci' | 'pci-stub'
  functions: FunctionBinding[]
  /** Are IDs on the kernel command line? That is for kernels with the driver built in, which read no modprobe.d. */
  byArgument: boolean
  /** Are IDs and softdeps in modprobe.d, and the module in the initramfs? */
  byModule: boolean
  /** The notes for the person on the decisions and their facts. */
  notes: string[]
}

/** Decides on the driver: vfio-pci has had `ids=` since Linux 4.1; before that the guides used pci-stub. */
function decideModule(kernels: readonly Kernel[]): { module: Mechanism['module']; notes: string[] } {
  const old = kernels.filter(({ version }) => version !== null && lt(version, '4.1.0'))
  if (old.length === 0) return { module: 'vfio-pci', notes: [] }
  const names = old.map(({ release }) => release).join(', ')
  if (old.length === kernels.length)
    return { module: 'pci-stub', notes: [`pci-stub holds the devices: Linux ${names} has no vfio-pci.ids (4.1 has).`] }
  return { module: 'vfio-pci', notes: [`Not bound when Linux ${names} is booted: vfio-pci takes IDs since 4.1.`] }
}

/** Binding by address. `reason`: why it is wanted, if it is; `place`: where the boot script would run, if it can. */
export interface AddressBinding {
  reason: string | null
  place: BootScriptLocation | undefined
  /** The evidence for the initramfs generator, or why none is known. */
  why: string
}

const ROOT_SCRIPT_NOTE =
  'The script runs on the root file system, before udev there: nothing earlier runs one. A driver that had the device by then, because it is built into the kernel or loaded by an initramfs, is unbound from it.'

/**
 * Decides how the selected functions are bound, for every installed kernel. `candidateModules` gives the modules that a
 * kernel's own tables name for each function.
 * Throws a UserError with code `no-kernel`, `no-vfio`, or `needs-address` (that is needed, and not possible here).
 */
export function decideMechanism(
  selected: readonly PciDevice[],
  kernels: readonly Kernel[],
  candidateModules: (kernel: Kernel) => (string[] | null)[],
  address: AddressBinding,
): Mechanism {
  if (kernels.length === 0)
    throw new UserError('no-kernel', '/lib/modules: no installed kernel found; is this the root of the system?')
  const { module, notes } = decideModule(kernels)
  const holders = kernels.map((kernel) => ({ release: kernel.release, how: kernel.provides(module) }))
  const lacking = holders.filter(({ how }) => how === 'absent').map(({ release }) => release)
  if (lacking.length === kernels.length)
    throw new UserError('no-vfio', `no installed kernel has ${module} (${lacking.join(', ')}); install one that has`)
  if (lacking.length > 0) notes.push(`Not bound when Linux ${lacking.join(', ')} is booted: it has no ${module}.`)
  let byAddress = address.reason
  const tables = kernels.map((kernel) => ({ kernel, claims: candidateModules(kernel) }))
  const functions = selected.map((device, index): FunctionBinding => {
    const known = tables.flatMap(({ kernel, claims }) =>
      (claims[index] ?? device.modules ?? []).map((name) => ({ name, builtin: kernel.provides(name) === 'builtin' })),
    )
    const current = device.driver === null || isVfio(device.driver) ? [] : [{ name: device.driver, builtin: false }]
    const claims = known.length > 0 ? known : current
    const builtin = [...new Set(claims.filter((one) => one.builtin).map(({ name }) => name))]
    const modules = [...new Set(claims.filter((one) => !one.builtin).map(({ name }) => name))].filter(
      (name) => !isVfio(name),
    )
    const base = { device, id: `${device.vendor.id}:${device.device.id}`, modules }
    if (builtin.length === 0) return { ...base, boundBy: 'id' }
    if (isDisplay(device)) {
      byAddress ??= `${device.address}: ${builtin.join(', ')} is built into the kernel and has it before vfio-pci could`
      return { ...base, boundBy: 'address' }
    }
    notes.push(
      `${device.address}: ${builtin.join(', ')} is built into the kernel and has it first; no boot binding is needed: libvirt (managed='yes') takes it when the guest starts.`,
    )
    return { ...base, boundBy: 'start' }
  })
  if (byAddress !== null) {
    if (address.place === undefined || module !== 'vfio-pci')
      throw new UserError(
        'needs-address',
        `${byAddress}; nothing is known here that runs a script before drivers are loaded (initramfs: ${address.why})`,
      )
    return {
      module,
      functions: functions.map((one) => ({ ...one, boundBy: 'address' })),
      byArgument: false,
      byModule: false,
      notes: [`By address, not by ID: ${byAddress}.`, ...(address.place === 'root' ? [ROOT_SCRIPT_NOTE] : [])],
    }
  }
  const easy = functions.filter(
    ({ device, boundBy }) => boundBy === 'id' && !isDisplay(device) && !isGpuPart(device, selected),
  )
  if (easy.length > 0) {
    const names = easy.map(({ device }) => device.address).join(', ')
    notes.push(`${names}: libvirt (managed='yes') could also take it when the guest starts, without any of this.`)
  }
  return {
    module,
    functions,
    byArgument: holders.some(({ how }) => how === 'builtin'),
    byModule: holders.some(({ how }) => how === 'module' || how === null),
    notes,
  }
}

/** Is it an audio, USB or UCSI function of a selected graphics card, and goes with it? */
function isGpuPart(device: PciDevice, selected: readonly PciDevice[]): boolean {
  return selected.some((other) => isDisplay(other) && other.group === device.group)
}

/**
 * Returns the kernel arguments that switch the IOMMU on for the next boot, with reasons. None on AMD, where it is on by
 * default: the kernel does not even know `amd_iommu=on`. With `passThrough`, `iommu=pt` is added.
 * Source: Documentation/admin-guide/kernel-parameters.txt; drivers/iommu/intel/Kconfig.
 */
export function iommuArguments(
  { kernels, machine }: Host,
  iommu: IommuState,
  selected: readonly PciDevice[],
  passThrough: boolean,
): { token: string; reason: string }[] {
  const booted = machine.optionalText('/proc/cmdline') ?? ''
  const tokens: { token: string; reason: string }[] = []
  if (iommu.kind === 'intel' || iommu.code === 'kernel-parameter') {
    const graphics = selected.some((device) => device.vendor.id === '8086' && isDisplay(device))
    const needing = kernels.filter((kernel) => !isIommuDefaultOn(kernel, iommu, graphics, booted))
    if (needing.length > 0) {
      const reason = graphics
        ? 'the IOMMU leaves out the integrated GPU by default'
        : `the IOMMU is off by default on Linux ${needing.map(({ release }) => release).join(', ')}`
      tokens.push({ token: 'intel_iommu=on', reason })
    }
  }
  if (passThrough) tokens.push({ token: 'iommu=pt', reason: '--iommu-pt: no translation for devices of the host' })
  return tokens
}

function isIommuDefaultOn(kernel: Kernel, iommu: IommuState, graphics: boolean, booted: string): boolean {
  const symbol = kernel.config('CONFIG_INTEL_IOMMU_DEFAULT_ON')
  // That the IOMMU is on now says nothing about the default where this boot had intel_iommu=on.
  if (symbol === null) return iommu.enabled === true && !graphics && !hasArgument(booted, 'intel_iommu=on')
  return symbol === 'y' || (kernel.config('CONFIG_INTEL_IOMMU_DEFAULT_ON_INTGPU_OFF') === 'y' && !graphics)
}
