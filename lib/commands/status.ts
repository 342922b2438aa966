import { claimedGenerator } from '../bind/claimed-requirements.ts'
import { claimsOf, type JournalRecord, readJournal } from '../change/journal.ts'
import { runCommand } from '../change/run.ts'
import { type BindStatus, checkBindStatus, TUNING_SCRIPT } from '../checks/binding-status.ts'
import { UserError } from '../core/error.ts'
import { withDenials } from '../host/denied.ts'
import { readPciFacts } from '../host/machine.ts'
import { readHost } from '../system/read-system.ts'
import type { Adapters, Host } from '../system/system.ts'
import { paint } from '../terminal/text.ts'
import { tuneHostStatus } from '../tune/tuning-status.ts'
import { statusText } from '../views/answers.ts'
import type { BindVfio } from '../views/changes.ts'
import { findingsText } from '../views/changes.ts'
import { answerJson, readBootId } from './answer.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import type { Answer, Context } from './run-script.ts'

/** Is what was bound in force, each point with its evidence? */
export async function readBindingStatus(
  context: Context,
  adapters: Adapters,
  host = readHost(context.machine),
): Promise<BindStatus> {
  const { machine, warn } = context
  const journal = wholeJournal(host)
  const claims = claimsOf(journal).filter(({ entry }) => entry.entry.script !== TUNING_SCRIPT)
  const last = claims.at(-1)?.entry.entry.adapters
  const generator = claimedGenerator(claims)
  const list = async (argv: readonly string[]): Promise<string | null> => {
    const { code, stdout } = await runCommand(argv, { root: '/' })
    return code === 0 ? stdout : null
  }
  const { devices, unread } = readPciFacts(machine, warn)
  if (claims.length > 0 && unread.length > 0) throw new UserError('denied', machine.reader.denials.at(-1) ?? '')
  return checkBindStatus({
    host,
    devices,
    journal,
    boot: readBootId(context),
    bootloader: adapters.openBootloader(host, last?.bootloader),
    initramfs: adapters.openInitramfs(host, generator),
    imageFiles: (argv) => (machine.running ? list(argv) : Promise.resolve(null)),
    log: machine.running ? (await askKernelLog(machine)).log : null,
  })
}

/** What is in force is told by the journal: without it there is no answer. */
function wholeJournal({ files }: Host): JournalRecord[] {
  const { value, denied } = withDenials([files], () => readJournal(files))
  const [first] = denied
  if (first !== undefined) throw new UserError('denied', first)
  return value
}

/** Is what was set up in force? */
export async function answerBindStatus(context: Context, adapters: Adapters): Promise<Answer> {
  const { script } = context
  const found = await readBindingStatus(context, adapters)
  const plan = { changes: [], settings: [], notes: [], rebootNeeded: found.state === 'reboot-needed' }
  const json: BindVfio = {
    ...answerJson(script, 'status', plan, found.functions, found.findings),
    state: found.state,
  }
  return { code: found.state === 'bound' ? 0 : 1, json, text: (style) => statusText(style, script.name, found) }
}

/** Is what tune-host set up in force? */
export async function answerTuneStatus(context: Context, adapters: Adapters): Promise<Answer> {
  const host = readHost(context.machine)
  const claims = claimsOf(wholeJournal(host)).filter(({ entry }) => entry.entry.script === TUNING_SCRIPT)
  const used = claims.map(({ entry }) => entry.entry.adapters.bootloader).find((name) => name !== null)
  const loader = adapters.openBootloader(host, used)
  const { state, findings } = tuneHostStatus(host, loader, claims, readBootId(context))
  const plan = { changes: [], settings: [], notes: [], rebootNeeded: state === 'reboot-needed' }
  const json = { ...answerJson(context.script, 'status', plan, [], findings), state }
  const features = [...new Set(claims.map(({ owner }) => owner))].join(', ')
  return {
    code: state === 'in-force' ? 0 : 1,
    json,
    text: (style) =>
      `${context.script.name}: ${paint(style, state === 'in-force' ? 'green' : 'yellow', state)}${features && ` (${features})`}\n${findingsText(style, findings)}`,
  }
}
