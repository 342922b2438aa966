import coerce from 'semver/functions/coerce.js'
import lt from 'semver/functions/lt.js'
import type { Kernel } from '../host/installed-kernels.ts'
import type { IommuState } from '../host/iommu.ts'
import { isDisplay, isVfio, type PciDevice } from '../host/pci.ts'
import { iommuOnLine, type KernelLine, kernelArgumentsOf } from './kernel-line.ts'

/** The machine as it runs: what its drivers have taken already says what they take. */
export interface MachineNow {
  devices: readonly PciDevice[]
  /** The modules that are loaded, with `_`; `null`: not known. */
  loaded: ReadonlySet<string> | null
  /** The module of each driver that has a device, with `_`; `null`: the driver is built into the kernel. */
  moduleOf: ReadonlyMap<string, string | null>
  /** The release of the kernel that runs; `undefined`: not known. */
  release: string | undefined
  iommu: Pick<IommuState, 'enabled' | 'kind'>
}

/** Does a driver take a device that it is offered? Its ID is an attempt: the driver's probe may decline. */
export type ProbeAnswer = 'takes' | 'may-decline' | 'declines'

/** vfio-pci's own list of devices that it does not take. Source: vfio_pci_dev_in_denylist() in the kernel's vfio_pci.c. */
const VFIO_DENIED = /^8086:(19e2|19e3|37c8|37c9|0435|0443|0b25|0cfe)$/
/** Drivers that decline chips which they do not know, or are told not to take: force_probe, si_support, dsp_driver. */
const CHOOSY = /^(nouveau|nova_core|nvidia|amdgpu|radeon|i915|xe|snd_(sof|soc)_\w+)$/
/** Drivers whose tables name host bridges that have no AGP; kernels from 6.18 on say so of built-in ones too. */
const AGP = /^(intel|amd64|sis|via)_agp$/
/** Drivers that take no display where the line says nomodeset. Source: drm_firmware_drivers_only() in the kernel. */
const DRM =
  /^(nouveau|nova_core|amdgpu|radeon|i915|xe|ast|mgag200|bochs|cirrus|cirrus_qemu|qxl|virtio_gpu|vmwgfx|gma500_gfx)$/
/** The driver's name, where it is not that of its module. */
const DRIVER_NAMES: Readonly<Record<string, string>> = {
  vfio_pci: 'vfio-pci',
  pci_stub: 'pci-stub',
  xhci_pci: 'xhci_hcd',
  xhci_pci_renesas: 'xhci_hcd',
  ehci_pci: 'ehci-pci',
  ohci_pci: 'ohci-pci',
  virtio_pci: 'virtio-pci',
  sdhci_pci: 'sdhci-pci',
  bochs: 'bochs-drm',
  i2c_i801: 'i801_smbus',
  i2c_piix4: 'piix4_smbus',
  i2c_nvidia_gpu: 'nvidia-gpu',
  intel_lpss_pci: 'intel-lpss',
  intel_agp: 'agpgart-intel',
  amd64_agp: 'agpgart-amd64',
}
/** Modules that name devices in their tables, and leave the binding to another module. */
const HELPERS = /^(nvidia_drm|nvidia_modeset|nvidia_uvm|nvidia_peermem)$/

/** The answers of drivers on one boot of a machine. */
export interface Answers {
  /** Returns the loadable or built-in drivers, by their modules, that the kernel offers the device to. */
  candidates(device: PciDevice): { module: string; builtin: boolean }[]
  answer(module: string, device: PciDevice): ProbeAnswer
  /** Returns the name of the driver in a module. */
  driverName(module: string): string
}

/**
 * Opens the answers for a kernel and a command line. `modules` gives what the kernel's tables name for each device.
 */
export function openAnswers(
  now: MachineNow,
  kernel: Kernel,
  line: KernelLine,
  modules: ReadonlyMap<PciDevice, readonly string[] | null>,
): Answers {
  const isRunning = kernel.release === now.release
  const moduleOf = new Map([...assumedModules(now, modules), ...now.moduleOf])
  const driverOf = new Map([...moduleOf].flatMap(([driver, module]) => (module === null ? [] : [[module, driver]])))
  const nomodeset = kernelArgumentsOf(line).some(({ name }) => name === 'nomodeset')
  const moduleNow = ({ driver }: PciDevice): string | null =>
    driver === null ? null : (moduleOf.get(driver) ?? driver.replaceAll('-', '_'))

  const candidates: Answers['candidates'] = (device) => {
    const known = namedModules(device, modules).map((module) => ({
      module,
      builtin: kernel.provides(module) === 'builtin',
    }))
    const { driver } = device
    if (driver === null || isVfio(driver)) return known
    if (known.some((one) => sameDriver(one.module, driver))) return known
    // A driver that is no module of its own is in no table: pcieport. Nor is one that was given the device by hand.
    const module = now.moduleOf.get(driver)
    // Another kernel runs here, and has it.
    if (typeof module === 'string' && kernel.provides(module) === 'absent') return known
    if (module === null || driver === 'pcieport' || known.length === 0)
      return [{ module: driver, builtin: true }, ...known]
    return module === undefined ? known : [...known, { module, builtin: false }]
  }

  const sameDriver = (module: string, driver: string): boolean =>
    driverName(module) === driver || module === driver.replaceAll('-', '_')

  const answer = (module: string, device: PciDevice): ProbeAnswer => {
    if (module === 'vfio_pci') return vfioAnswer(device)
    if (module === 'pci_stub') return 'takes'
    if (module === 'virtio_pci' && !isVirtio(device)) return 'declines'
    if (nomodeset && DRM.test(module)) return 'declines'
    if (isRunning && moduleNow(device) === module) return 'takes'
    if (isRunning && device.driver === null && now.loaded?.has(module)) return 'declines'
    const isChoosy = AGP.test(module) || (CHOOSY.test(module) && (isDisplay(device) || device.vendor.id === '8086'))
    // Of Intel's audio drivers one takes what the others leave to it: snd_intel_dsp_driver_probe() in the kernel.
    const shares = module === 'snd_hda_intel' && candidates(device).some((one) => one.module !== module)
    return isChoosy || (shares && moduleNow(device) !== module) ? 'may-decline' : 'takes'
  }

  const vfioAnswer = (device: PciDevice): ProbeAnswer => {
    if (/^060[4579]$/.test(device.class.id)) return 'declines'
    const permits = kernelArgumentsOf(line).some(({ token }) => /^vfio[-_]pci\.disable_denylist=[1Yy]/.test(token))
    if (VFIO_DENIED.test(`${device.vendor.id}:${device.device.id}`) && !permits) return 'declines'
    const switched = iommuOnLine(line, now.iommu.kind === 'intel' || now.iommu.kind === 'amd' ? now.iommu.kind : null)
    if (switched === false) return 'declines'
    if (device.group !== null) return 'takes'
    return now.iommu.enabled === false && switched === null ? 'declines' : 'may-decline'
  }

  const driverName = (module: string): string => driverOf.get(module) ?? DRIVER_NAMES[module] ?? module
  return { candidates, answer, driverName }
}

/** Its alias is that of the maker, and the maker has other devices too. Source: drivers/virtio/virtio_pci_modern_dev.c. */
function isVirtio({ device }: PciDevice): boolean {
  return /^10[0-7][0-9a-f]$/.test(device.id)
}

/** Returns what the tables name for a device, less what leaves the binding to others. */
function namedModules(device: PciDevice, modules: ReadonlyMap<PciDevice, readonly string[] | null>): string[] {
  return (modules.get(device) ?? device.modules ?? [])
    .map((name) => name.replaceAll('-', '_'))
    .filter((name) => !HELPERS.test(name) && !isVfio(name))
}

/** Where the tree does not say which module a driver is in: the only one that the tables name for its device has it. */
function assumedModules(
  { devices, moduleOf }: MachineNow,
  modules: ReadonlyMap<PciDevice, readonly string[] | null>,
): Map<string, string> {
  const assumed = new Map<string, string>()
  for (const device of devices) {
    const { driver } = device
    if (driver === null || isVfio(driver) || moduleOf.has(driver) || driver === 'pcieport') continue
    const [module, ...more] = namedModules(device, modules)
    if (module !== undefined && more.length === 0) assumed.set(driver, module)
  }
  return assumed
}

/** Does vfio-pci remove the console of a display that it takes? It does since Linux 6.0: aperture helpers. */
export function darkensConsole(kernel: Kernel, device: PciDevice): boolean {
  const version = coerce(kernel.version)
  return device.class.id === '0300' && version !== null && !lt(version, '6.0.0')
}
