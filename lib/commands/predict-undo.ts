import type { Plan } from '../change/plan.ts'
import type { Setting } from '../change/settings.ts'
import { UserError } from '../core/error.ts'
import { readPciFacts } from '../host/machine.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import { readSystemFacts } from '../system/read-system.ts'
import type { Adapters, Bootloader, Host, Initramfs } from '../system/system.ts'
import { requestedAdapters } from './change-options.ts'
import { imageReader } from './predict-answer.ts'
import { bootSystem, predictPlan } from './predict-boots.ts'
import type { Context } from './run-script.ts'
import { externalRemoval } from './undo-claims.ts'

/**
 * Returns who has each device after a boot once these settings are taken out. An undo has to work where nothing can be
 * foreseen, from a rescue system too: then there are none.
 */
export async function predictUndo(
  { machine, warn, arguments: given }: Context,
  adapters: Adapters,
  host: Host,
  { changes }: Plan,
  leaving: readonly Setting[],
): Promise<PredictedBoot[]> {
  try {
    const pci = readPciFacts(machine, warn)
    const facts = readSystemFacts(host, adapters, requestedAdapters(given))
    const { initramfs, bootloader } = facts
    const run = new Set(changes.flatMap((one) => (one.kind === 'command' ? [one.argv.join('\n')] : [])))
    const isRun = (adapter: Bootloader | Initramfs | undefined): boolean =>
      adapter?.commands(externalRemoval(leaving, adapter.name)).some(({ argv }) => run.has(argv.join('\n'))) ?? false
    const regenerated = { images: isRun(initramfs.adapter), entries: isRun(bootloader.adapter) }
    const change = { changes, settings: [], leaving, regenerated }
    return await predictPlan(bootSystem(facts, pci, adapters), pci, change, imageReader(host.files))
  } catch (error) {
    if (!(error instanceof UserError)) throw error
    // A rescue system has no devices of this one: nothing is to be said then.
    if (error.code === 'denied')
      warn(`who has each device after the boot is not foreseen: ${error.message}: try as root`)
    return []
  }
}
