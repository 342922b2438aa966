import { readDriverModules } from '../host/driver-modules.ts'
import { kernelRelease } from '../host/kernel.ts'
import type { PciFacts } from '../host/machine.ts'
import { type BootSystem, type EntryBoot, eachOnce, type ReadImage, readEntryBoots } from '../predict/entry-boots.ts'
import { type PlannedChange, plannedEntryBoots } from '../predict/planned-boots.ts'
import { type Boot, type Prediction, predictBoot } from '../predict/predict.ts'
import type { ForeseenBoots, PredictedBoot } from '../predict/predicted-boot.ts'
import type { MachineNow } from '../predict/probe-answers.ts'
import type { MenuEntry } from '../system/boot.ts'
import { readCandidateModules } from '../system/candidate-modules.ts'
import type { SystemFacts } from '../system/plan-settings.ts'
import { rootStage } from '../system/root-stage.ts'
import type { Adapters } from '../system/system.ts'

/** Returns the system as boots are read from it. */
export function bootSystem(
  { host, bootloader, initramfs, entries }: SystemFacts,
  pci: PciFacts,
  adapters: Adapters,
  candidateModules = readCandidateModules(host, pci.devices),
): BootSystem {
  return {
    ...{ host, adapters, entries, devices: pci.devices },
    bootloader: bootloader.adapter,
    initramfs: initramfs.adapter,
    candidateModules,
    rootStage: eachOnce((release) => rootStage(host, release)),
  }
}

/** Returns who has each device after a boot by each entry, by the files as they are now. */
export async function predictNow(system: BootSystem, pci: PciFacts, readImage: ReadImage): Promise<PredictedBoot[]> {
  return predictAll(machineNow(system, pci), await readEntryBoots(system, readImage))
}

/**
 * Returns the same for a plan, for the entries that are not for recovery. Images are looked into only where it matters
 * what they hold: that takes a second for each.
 */
export async function predictPlan(
  system: BootSystem,
  pci: PciFacts,
  change: PlannedChange,
  readImage: ReadImage,
): Promise<PredictedBoot[]> {
  const now = machineNow(system, pci)
  const likely = plannedEntryBoots(system, change, ({ images }) => (images.length === 0 ? null : undefined))
  const quick = predictAll(now, likely)
  if (!quick.some(({ devices }) => devices?.some(({ certainty }) => certainty === 'undecided'))) return quick
  const present = await readEntryBoots(system, readImage)
  const stages = new Map(present.map(({ entry, boot }) => [entryKey(entry), boot]))
  const seen = plannedEntryBoots(system, change, (entry) => {
    const boot = stages.get(entryKey(entry))
    return boot === undefined || typeof boot === 'string' ? undefined : boot.initramfs
  })
  return predictAll(now, seen)
}

const entryKey = ({ file, title, images }: MenuEntry): string => JSON.stringify([file, title, images])

/** Returns both: by the files as they are, and once images and boot entries are made of them. */
export async function foreseeBoots(system: BootSystem, pci: PciFacts, readImage: ReadImage): Promise<ForeseenBoots> {
  const made = { changes: [], settings: [], leaving: [], regenerated: { images: true, entries: true } }
  return { now: await predictNow(system, pci, readImage), made: await predictPlan(system, pci, made, readImage) }
}

function unseenIn({ initramfs }: Boot): Pick<PredictedBoot, 'unseen'> {
  return initramfs !== null && 'why' in initramfs ? { unseen: initramfs.why } : {}
}

function machineNow({ host, devices }: BootSystem, { iommu }: PciFacts): MachineNow {
  const { machine } = host
  return { devices, ...readDriverModules(machine, devices), release: kernelRelease(machine), iommu }
}

function predictAll(now: MachineNow, boots: readonly EntryBoot[]): PredictedBoot[] {
  // The entries of a kernel often have one line: the simple one, and the same in a submenu.
  const known = new Map<string, [boot: Boot, predictions: Prediction[]]>()
  const predict = (boot: Boot): Prediction[] => {
    const key = JSON.stringify([boot.kernel.release, boot.line.text])
    const [same, found] = known.get(key) ?? []
    if (found !== undefined && same?.initramfs === boot.initramfs) return found
    const predictions = predictBoot(now, boot)
    known.set(key, [boot, predictions])
    return predictions
  }
  return boots.map(({ entry, boot }) => {
    const { title, file, release, images, recovery, isDefault } = entry
    return {
      ...{ entry: title, kernel: release, file, default: isDefault, recovery },
      images: images.map(({ path }) => path),
      ...(typeof boot === 'string' ? { devices: null, reason: boot } : { devices: predict(boot), ...unseenIn(boot) }),
    }
  })
}
