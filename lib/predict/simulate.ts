import { moduleName } from '../edit/modprobe.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { PciDevice } from '../host/pci.ts'
import type { BootStage, BootStep, Cause, LoadStep } from '../system/boot.ts'
import { isTooLong, matchesDynamicId, parseDynamicIds } from './ids.ts'
import { type KernelLine, kernelArgumentsOf, listedOnLine } from './kernel-line.ts'
import type { Answers, ProbeAnswer } from './probe-answers.ts'
import { type Offer, orderOf, orderOffers } from './race.ts'
import { takenByScript, touchedBy } from './script-targets.ts'
import { type IdsFrom, idListsOnLine, type Loading, openStageModules, type StageModules } from './stage-modules.ts'

/** A driver that is offered a device, in the order in which that happens. */
interface Attempt {
  module: string
  answer: Exclude<ProbeAnswer, 'declines'>
  cause: Cause
}

/** What happens to one device during a boot. */
export interface DeviceFate {
  attempts: Attempt[]
  /** Has a driver got it for certain, or is it undecided? Later drivers get nothing then. */
  settled: boolean
  /** The modules of which one gets it, where nothing orders them. */
  racing: string[]
  /** Lines that look as if they decided, and why they do not. */
  without: Cause[]
}

const HOLDERS = ['vfio_pci', 'pci_stub']
/** The kernel's own tables are no line that anybody wrote. */
const TABLES = ''

/**
 * Runs through a boot: the drivers that are built in, then the steps of each stage, and says what happens to each
 * device. Pure; nothing is read.
 * Source: drivers/base/dd.c and drivers/pci/pci-driver.c of the kernel; udev(7), kmod(8).
 */
export function simulateBoot(
  devices: readonly PciDevice[],
  kernel: Kernel,
  line: KernelLine,
  stages: readonly BootStage[],
  answers: Answers,
): ReadonlyMap<PciDevice, DeviceFate> {
  const fates = new Map(devices.map((device) => [device, newFate()]))
  /** Module → the IDs that it was loaded with. */
  const loaded = new Map<string, IdsFrom | undefined>()
  const candidates = new Map(devices.map((device) => [device, answers.candidates(device)]))

  const offer = (device: PciDevice, module: string, sure: boolean, cause: Cause): void => {
    const fate = fateOf(device)
    if (fate.settled) {
      if (HOLDERS.includes(module)) fate.without.push(`${cause}: another driver has it by then`)
      return
    }
    const answer = answers.answer(module, device)
    if (answer === 'declines') fate.without.push(`${cause || module}: ${answers.driverName(module)} does not take it`)
    else fate.attempts.push({ module, answer: sure ? answer : 'may-decline', cause })
    fate.settled = answer === 'takes' && sure
  }
  const fateOf = (device: PciDevice): DeviceFate => fates.get(device) as DeviceFate

  /** Why a module is offered a device; `undefined`: it is not. */
  const matching = (module: string, device: PciDevice): Cause | undefined => {
    const ids = loaded.get(module)
    if (ids !== undefined) return matchesList(ids, device) ? ids.cause : undefined
    return candidates.get(device)?.some((one) => one.module === module && !one.builtin) ? TABLES : undefined
  }

  const registerAll = (loadings: readonly Loading[], by: 'kmod' | 'busybox', modules: StageModules): void => {
    for (const loading of loadings) {
      const { module, sure } = loading
      if (!load(loading, by, modules)) continue
      for (const device of devices) {
        const cause = matching(module, device)
        if (cause !== undefined) offer(device, module, sure, cause)
      }
    }
  }

  /** Marks a module as loaded, with its IDs; false: it is already, or a list that is too long keeps it out. */
  const load = (loading: Loading, by: 'kmod' | 'busybox', modules: StageModules): boolean => {
    const { module } = loading
    const lists = HOLDERS.includes(module) ? modules.idLists(module, by, loading) : []
    const last = lists.at(-1)
    if (loaded.has(module)) {
      if (last !== loaded.get(module)) noteFor(last, `${module} is loaded already`, loaded.get(module))
      return false
    }
    for (const lost of lists.slice(0, -1)) noteFor(lost, `has no effect, since ${last?.cause} comes later`, last)
    if (last !== undefined && isTooLong(last.list)) {
      noteFor(last, `more than 1,023 characters, with which ${module} is not loaded`)
      return false
    }
    loaded.set(module, last)
    return true
  }

  /** Says of a list, to each device that it names and the list which counts does not, why it has no effect. */
  const noteFor = (list: IdsFrom | undefined, why: string, counting?: IdsFrom): void => {
    for (const device of list === undefined ? [] : devices)
      if (list !== undefined && matchesList(list, device) && !(counting && matchesList(counting, device)))
        fateOf(device).without.push(`${list.cause}: ${why}`)
  }

  const builtinHolders = HOLDERS.filter((module) => kernel.provides(module) === 'builtin')
  const bootBuiltins = (): void => {
    for (const module of builtinHolders) {
      const lists = idListsOnLine(line, module, 'kernel')
      const last = lists.at(-1)
      for (const lost of lists.slice(0, -1)) noteFor(lost, `has no effect, since ${last?.cause} comes later`, last)
      loaded.set(module, last === undefined || isTooLong(last.list) ? undefined : last)
    }
    for (const device of devices) {
      const offered = [
        ...builtinHolders.flatMap((module) => {
          const ids = loaded.get(module)
          return ids !== undefined && matchesList(ids, device) ? [{ module, cause: ids.cause }] : []
        }),
        ...(candidates.get(device) ?? []).flatMap(({ module, builtin }) =>
          builtin ? [{ module, cause: `${answers.driverName(module)} is built into the kernel` }] : [],
        ),
      ].sort((one, other) => kernel.builtinOrder(one.module) - kernel.builtinOrder(other.module))
      for (const { module, cause } of offered) offer(device, module, true, cause)
    }
  }

  const coldplug = (beside: readonly LoadStep[], modules: StageModules): void => {
    // What each worker of udev, and each program beside it, loads one after another.
    const chains = [
      ...beside.map((step) => wanted(step, modules)),
      ...devices.map((device) =>
        (candidates.get(device) ?? []).flatMap(({ module, builtin }) => {
          const why = builtin ? undefined : modules.keptOut(module, true)
          if (why !== undefined) fateOf(device).without.push(`${why}: ${module} is not loaded`)
          return builtin || why !== undefined ? [] : modules.chain(module)
        }),
      ),
    ].filter((chain) => chain.length > 0)
    const fresh = new Map<string, Loading>()
    for (const loading of chains.flat()) if (!fresh.has(loading.module)) fresh.set(loading.module, loading)
    for (const [module, loading] of fresh) if (!load(loading, 'kmod', modules)) fresh.delete(module)
    const isBefore = orderOf(chains)
    for (const device of devices) {
      const fate = fateOf(device)
      const matched = [...fresh.keys()].flatMap((module) => {
        const cause = matching(module, device)
        return cause === undefined ? [] : [{ module, cause }]
      })
      // Who declines is in no race.
      const declines = ({ module }: Offer): boolean => !fate.settled && answers.answer(module, device) === 'declines'
      for (const { module, cause } of matched.filter(declines)) offer(device, module, true, cause)
      const offers = matched.filter((one) => !declines(one))
      const { ordered, racing } = orderOffers(offers, isBefore)
      for (const { module, cause } of ordered) offer(device, module, fresh.get(module)?.sure ?? true, cause)
      if (racing.length === 0 || fate.settled) continue
      fate.racing = racing.map(({ module }) => module)
      fate.without.push(
        ...racing.map(({ module, cause }) => `${cause || module}: nothing says which of these drivers comes first`),
      )
      fate.settled = true
    }
  }

  const wanted = (step: LoadStep, modules: StageModules): Loading[] => {
    const name = moduleName(step.module)
    const why = modules.keptOut(name, step.obeysBlacklist)
    return why === undefined ? modules.chain(name, step.options, step.cause) : []
  }

  /** Tells the devices that a list of IDs names why its module is loaded by nobody in this stage. */
  const noteKept = (stage: BootStage, modules: StageModules): void => {
    const loads = stage.steps.flatMap((one) =>
      one.kind === 'load' ? [one] : one.kind === 'coldplug' ? one.beside : [],
    )
    for (const module of HOLDERS) {
      const named = loads.filter((one) => moduleName(one.module) === module)
      const why = modules.keptOut(module, named.length > 0 && named.every((one) => one.obeysBlacklist))
      if (why === undefined || loaded.has(module)) continue
      for (const list of modules.idLists(module, 'kmod').slice(-1))
        for (const device of devices)
          if (matchesList(list, device)) fateOf(device).without.push(`${why}: ${module} is not loaded`)
    }
  }

  const runBootScript = (step: Extract<BootStep, { kind: 'boot-script' }>, modules: StageModules): void => {
    if (kernelArgumentsOf(line).some(({ token }) => token === 'vfio_scripts.override=off')) return
    registerAll(modules.chain('vfio_pci'), 'kmod', modules)
    if (!loaded.has('vfio_pci')) return
    for (const device of takenByScript(step.functions, devices)) {
      const answer = answers.answer('vfio_pci', device)
      if (answer !== 'declines') giveTo(device, 'vfio_pci', answer, step.cause)
    }
  }

  const giveTo = (device: PciDevice, module: string, answer: Attempt['answer'], cause: Cause): void => {
    const fate = fateOf(device)
    fate.attempts = [{ module, answer, cause }, ...(answer === 'takes' ? [] : fate.attempts)]
    fate.racing = []
    fate.settled = true
  }

  const runUnknown = ({ addresses, cause }: Extract<BootStep, { kind: 'unknown-script' }>): void => {
    for (const device of touchedBy(addresses, devices)) {
      const fate = fateOf(device)
      fate.racing = [...new Set(['vfio_pci', ...fate.racing, ...fate.attempts.map(({ module }) => module)])]
      fate.without.push(`${cause}: this program decides`)
    }
  }

  bootBuiltins()
  for (const stage of stages) {
    const modules = openStageModules(stage, kernel, line)
    const by = stage.busybox ? 'busybox' : 'kmod'
    const byArgument = argumentSteps(stage, line)
    noteKept(stage, modules)
    for (const step of byArgument.first) registerAll(wanted(step, modules), by, modules)
    for (const step of stage.steps) {
      if (step.kind === 'load') registerAll(wanted(step, modules), by, modules)
      else if (step.kind === 'coldplug') coldplug([...step.beside, ...byArgument.beside], modules)
      else if (step.kind === 'boot-script') runBootScript(step, modules)
      else if (step.kind === 'unknown-script') runUnknown(step)
      else if (step.driver === 'none') {
        const device = devices.find(({ address }) => address === step.address)
        if (device !== undefined) fates.set(device, { ...newFate(), settled: true, without: [step.cause] })
      } else {
        const device = devices.find(({ address }) => address === step.address)
        const name = moduleName(step.driver)
        if (device !== undefined && modules.keptOut(name, false) === undefined) {
          registerAll(modules.chain(name), 'kmod', modules)
          const answer = answers.answer(name, device)
          if (answer !== 'declines' && loaded.has(name)) giveTo(device, name, answer, step.cause)
        }
      }
    }
  }
  return fates
}

/** The modules that the command line has a stage load. */
function argumentSteps(stage: BootStage, line: KernelLine): Record<'first' | 'beside', LoadStep[]> {
  const steps = (when: 'first' | 'beside'): LoadStep[] =>
    (stage.loadArguments ?? [])
      .filter((one) => one.when === when)
      .flatMap(({ name }) =>
        listedOnLine(line, name).map(({ member, cause }): LoadStep => {
          return { kind: 'load', module: member, options: '', obeysBlacklist: when === 'beside', cause }
        }),
      )
  return { first: steps('first'), beside: steps('beside') }
}

const newFate = (): DeviceFate => ({ attempts: [], settled: false, racing: [], without: [] })

function matchesList({ list }: IdsFrom, device: PciDevice): boolean {
  return parseDynamicIds(list).some((id) => matchesDynamicId(id, device))
}
