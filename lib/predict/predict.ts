import { moduleName } from '../edit/modprobe.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import type { BootStage, Cause } from '../system/boot.ts'
import type { KernelLine } from './kernel-line.ts'
import { type Answers, darkensConsole, type MachineNow, openAnswers } from './probe-answers.ts'
import { type DeviceFate, simulateBoot } from './simulate.ts'

/** One way to boot a machine: a kernel with its command line, and what runs until all drivers have their devices. */
export interface Boot {
  kernel: Kernel
  line: KernelLine
  /** What the initramfs does; `null`: there is none. */
  initramfs: BootStage | UnknownStage | null
  root: BootStage
  /** What the kernel's tables name for each device, built in or not. */
  modules: ReadonlyMap<PciDevice, readonly string[] | null>
}

/** An initramfs that cannot be looked into. `likely`: what one of its generator does. */
export interface UnknownStage {
  why: string
  likely: BootStage
}

/** Who has a device after a boot. */
export interface Prediction {
  address: string
  /** The driver that has it now. */
  now: string | null
  /** The driver after the boot; `null`: none, or with `undecided` one of `or`. */
  driver: string | null
  /** The module that has the driver, with `_`. */
  module: string | null
  /**
   * `may-decline`: the driver is offered it first, but does not take every device; `undecided`: nothing orders those
   * who may have it, or what decides could not be read.
   */
  certainty: 'certain' | 'may-decline' | 'undecided'
  /** The drivers that may have it instead. */
  or: string[]
  /** The line that decides; `null`: the kernel's own tables, or no driver. */
  because: Cause | null
  /** The lines that look as if they decided, and why they do not. */
  without: Cause[]
  /** Does the text console go dark, because vfio-pci removes it from this display? */
  darkens: boolean
}

/** Returns for each device which driver has it after a boot, how sure that is, and by which line. Pure. */
export function predictBoot(now: MachineNow, boot: Boot): Prediction[] {
  const { kernel, line, initramfs, root } = boot
  const answers = openAnswers(now, kernel, line, boot.modules)
  const run = (stages: readonly BootStage[]): ReadonlyMap<PciDevice, DeviceFate> =>
    simulateBoot(now.devices, kernel, line, stages, answers)
  const predictions = (fates: ReadonlyMap<PciDevice, DeviceFate>): Prediction[] =>
    now.devices.map((device) => toPrediction(device, fates.get(device) as DeviceFate, answers, kernel))
  const [first = [], ...others] = variantsOf(kernel, initramfs).map((stages) => predictions(run([...stages, root])))
  const why =
    initramfs !== null && 'why' in initramfs ? initramfs.why : 'which modules the initramfs holds is not known'
  return others.reduce(
    (known, other) =>
      known.map((one, index) => {
        const same = other[index]
        const agrees = same === undefined || (one.driver === same.driver && one.certainty === same.certainty)
        return agrees ? one : unknownBetween(one, same, why)
      }),
    first,
  )
}

/** Returns what the initramfs may do: with all modules of the kernel in it, and with those only that it loads by name. */
function variantsOf(kernel: Kernel, initramfs: Boot['initramfs']): BootStage[][] {
  if (initramfs === null) return [[]]
  if ('why' in initramfs) return [[initramfs.likely], []]
  if (initramfs.modules !== null) return [[initramfs]]
  return [[initramfs], [{ ...initramfs, modules: modulesLoadedBy(kernel, initramfs) }]]
}

/** Returns the modules that a stage loads by their names, with those that they depend on. */
export function modulesLoadedBy(kernel: Kernel, { steps }: BootStage): Set<string> {
  const loads = steps.flatMap((step) => {
    if (step.kind === 'load') return [step.module]
    if (step.kind === 'coldplug') return step.beside.map(({ module }) => module)
    return step.kind === 'boot-script' ? ['vfio-pci'] : []
  })
  return new Set(loads.flatMap((name) => [name, ...kernel.dependencies(name)]).map(moduleName))
}

function unknownBetween(one: Prediction, other: Prediction, why: string): Prediction {
  const or = [
    ...new Set(
      [one, other].flatMap(({ driver, certainty, or }) =>
        certainty === 'undecided' ? or : [driver ?? 'no driver', ...or],
      ),
    ),
  ]
  return { ...one, driver: null, module: null, certainty: 'undecided', or, because: why, darkens: false }
}

function toPrediction(device: PciDevice, fate: DeviceFate, answers: Answers, kernel: Kernel): Prediction {
  const { attempts, racing, without } = fate
  const name = (module: string): string => answers.driverName(module)
  const base = { address: device.address, now: device.driver, without: [...new Set(without)] }
  if (racing.length > 0) {
    const or = [...new Set([...attempts.map(({ module }) => module), ...racing].map(name))]
    return {
      ...base,
      driver: null,
      module: null,
      certainty: 'undecided',
      or,
      because: base.without.at(-1) ?? null,
      darkens: false,
    }
  }
  const [first, ...later] = attempts
  if (first === undefined)
    return { ...base, driver: null, module: null, certainty: 'certain', or: [], because: null, darkens: false }
  const { module, answer, cause } = first
  const or = answer === 'takes' ? [] : [...later.map((one) => name(one.module)), ...(fate.settled ? [] : ['no driver'])]
  return {
    ...base,
    driver: name(module),
    module,
    certainty: answer === 'takes' ? 'certain' : 'may-decline',
    or: [...new Set(or)],
    because: cause === '' ? null : cause,
    darkens: isVfio(name(module)) && !isVfio(device.driver) && darkensConsole(kernel, device),
  }
}
