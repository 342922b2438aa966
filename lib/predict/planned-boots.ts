import type { Plan } from '../change/plan.ts'
import { filesAfter } from '../change/planned-files.ts'
import { kernelArgumentIn, type Setting, tokensKeptBy } from '../change/settings.ts'
import { addArgument, removeArgument } from '../edit/kernel-arguments.ts'
import type { Kernel } from '../host/installed-kernels.ts'
import type { BootStage, MenuEntry } from '../system/boot.ts'
import { rootStage } from '../system/root-stage.ts'
import { type BootSystem, bootOf, type EntryBoot, eachOnce, kernelOf, likelyStage, menuEntries } from './entry-boots.ts'
import { type Boot, modulesLoadedBy } from './predict.ts'

/** A plan, as far as the next boot depends on it. */
export interface PlannedChange extends Pick<Plan, 'changes' | 'settings'> {
  regenerated: { images: boolean; entries: boolean }
  /** The settings that it takes out. */
  leaving: readonly Setting[]
}

/**
 * Returns the boots of the normal entries as they will be with a plan. `stageNow`: what the initramfs of an entry does
 * now, which counts where the plan makes no image again; a new image holds the same modules, and those that it loads.
 * `undefined`: what its generator would make.
 */
export function plannedEntryBoots(
  system: BootSystem,
  change: PlannedChange,
  stageNow: (entry: MenuEntry, release: string) => Boot['initramfs'] | undefined,
): EntryBoot[] {
  const host = { ...system.host, files: filesAfter(system.host.files, change.changes) }
  const { adapters } = system
  const after: BootSystem = {
    ...system,
    host,
    rootStage: eachOnce((release) => rootStage(host, release)),
    bootloader: adapters.openBootloader(host, system.bootloader?.name),
    initramfs: adapters.openInitramfs(host, system.initramfs?.name),
  }
  // A generator that keeps its arguments itself has no file that says the new ones.
  const tool = after.initramfs?.name ?? ''
  const external = { add: tokensKeptBy(change.settings, tool), remove: tokensKeptBy(change.leaving, tool) }
  const nextStage = eachOnce((release: string) => likelyStage(after, release, external))
  const entries = menuEntries(system).filter(({ recovery }) => !recovery)
  // Some loaders' entries are files that the plan changes itself.
  const written = after.bootloader?.entries() ?? []
  return entries.map((entry) => {
    const kernel = kernelOf(system, entry)
    if (typeof kernel === 'string') return { entry, boot: kernel }
    const { line } = written.find(({ file, title }) => file === entry.file && title === entry.title) ?? entry
    const planned = { ...entry, line: plannedLine(after, { ...entry, line }, change) }
    const now = stageNow(entry, kernel.release)
    const next = change.regenerated.images || now === undefined ? nextStage(kernel.release) : undefined
    const stage = next === undefined ? (now ?? null) : madeAgain(kernel, next, now)
    return { entry: planned, boot: bootOf(after, kernel, planned, stage) }
  })
}

function madeAgain(kernel: Kernel, next: BootStage, now: Boot['initramfs'] | undefined): BootStage {
  if (now === null || now === undefined || 'why' in now || now.modules === null) return next
  return { ...next, modules: new Set([...now.modules, ...modulesLoadedBy(kernel, next)]) }
}

/** Returns the arguments of an entry once the plan's commands have made it again. */
function plannedLine({ bootloader }: BootSystem, { file, line }: MenuEntry, change: PlannedChange): string {
  if (!change.regenerated.entries) return line
  // What the files of a loader say replaces its entry; a loader that keeps its arguments itself has them in the entry.
  const own = (bootloader?.configured() ?? []).filter(({ entry }) => entry === undefined || entry === file)
  const text = own.length > 0 ? own.map(({ token }) => token).join(' ') : line
  const argumentsIn = (some: readonly Setting[]): string[] =>
    some.flatMap((one) => kernelArgumentIn(one, [bootloader?.name ?? null]) ?? [])
  return argumentsIn(change.leaving).reduce(removeArgument, argumentsIn(change.settings).reduce(addArgument, text))
}
