import { claimedGenerator } from '../bind/claimed-requirements.ts'
import { claimsOf, type JournalRecord, readJournal } from '../change/journal.ts'
import { runCommand } from '../change/run.ts'
import { type BindState, type BindStatus, checkBindStatus } from '../checks/binding-status.ts'
import { UserError } from '../core/error.ts'
import { withDenials } from '../host/denied.ts'
import { readPciFacts } from '../host/machine.ts'
import type { PredictedBoot } from '../predict/predicted-boot.ts'
import { readHost, readSystemFacts } from '../system/read-system.ts'
import type { Adapters, Host } from '../system/system.ts'
import { tuneHostStatus } from '../tune/tuning-status.ts'
import { readBootId } from './answer.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import type { ChangeStatus } from './change-cycle.ts'
import { lookIntoImage } from './look-into-image.ts'
import { imageReader } from './predict-answer.ts'
import { bootSystem, predictNow } from './predict-boots.ts'
import type { Context } from './run-script.ts'

/** Checks whether what was bound is in force, each point with its evidence. Throws a UserError with code `denied`. */
export async function readBindingStatus(
  context: Context,
  adapters: Adapters,
  host = readHost(context.machine),
): Promise<BindStatus> {
  const { machine, warn } = context
  const journal = wholeJournal(host)
  const claims = claimsOf(journal, 'binding')
  const last = claims.at(-1)?.entry.entry.adapters
  const generator = claimedGenerator(claims)
  const pci = readPciFacts(machine, warn)
  const { devices, unread } = pci
  const facts = readSystemFacts(host, adapters, namedIn(last ?? {}))
  let boots: Promise<PredictedBoot[]> | undefined
  if (claims.length > 0 && unread.length > 0) throw new UserError('denied', machine.reader.denials.at(-1) ?? '')
  return checkBindStatus({
    host,
    devices,
    journal,
    boot: readBootId(context),
    bootloader: adapters.openBootloader(host, last?.bootloader),
    initramfs: adapters.openInitramfs(host, generator),
    lookInto: (initramfs, path) =>
      lookIntoImage(host.files, initramfs, path, async (argv) => {
        const ran = machine.running ? await runCommand(argv, { root: '/' }) : undefined
        return ran?.code === 0 ? ran.stdout : undefined
      }),
    foreseen() {
      boots ??= predictNow(bootSystem(facts, pci, adapters), pci, imageReader(host.files))
      return boots
    },
    kernelLog: await askKernelLog(machine),
  })
}

/** Returns the adapters of a journal entry, as a person would name them. */
function namedIn(
  last: Partial<Record<'bootloader' | 'initramfs', string | null>>,
): Parameters<typeof readSystemFacts>[2] {
  return { bootloader: last.bootloader ?? undefined, initramfs: last.initramfs ?? undefined }
}

/** Reads the journal, without which there is no answer. Throws a UserError with code `denied`. */
function wholeJournal({ files }: Host): JournalRecord[] {
  const { value, denied } = withDenials([files], () => readJournal(files))
  const [first] = denied
  if (first !== undefined) throw new UserError('denied', first)
  return value
}

const MEANINGS: Record<BindState, string> = {
  bound: 'all is as planned',
  none: 'nothing is set up',
  'reboot-needed': 'set up, but not in force before the next boot',
  drifted: 'not as planned',
  moved: 'a card is at another address than it was',
}

/** Returns whether what any script bound is in force. Throws a UserError with code `denied`. */
export async function bindingStatus(context: Context, adapters: Adapters): Promise<ChangeStatus> {
  const { state, functions, findings } = await readBindingStatus(context, adapters)
  return { state, meaning: MEANINGS[state], names: functions.map(({ address }) => address), functions, findings }
}

/** Returns whether what tune-host set up is in force. Throws a UserError with code `denied`. */
export async function tuningStatus(context: Context, adapters: Adapters): Promise<ChangeStatus> {
  const host = readHost(context.machine)
  const journal = wholeJournal(host)
  const claims = claimsOf(journal, 'tuning')
  const used = claims.map(({ entry }) => entry.entry.adapters.bootloader).find((name) => name !== null)
  const loader = adapters.openBootloader(host, used)
  const { state, findings } = tuneHostStatus(host, loader, journal, readBootId(context))
  return { state, meaning: '', names: [...new Set(claims.map(({ owner }) => owner))], functions: [], findings }
}
