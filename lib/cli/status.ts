import { readPciFacts } from '../host/machine.ts'
import { runCommand } from '../plan/command.ts'
import { claimsOf, readJournal } from '../plan/journal.ts'
import type { Adapters } from '../plan/system.ts'
import { readHost } from '../vfio/facts.ts'
import { generatorOf } from '../vfio/promise.ts'
import { bindStatus } from '../vfio/status.ts'
import { answerJson, type BindVfio, bootOf } from './answer.ts'
import type { Answer, Context } from './run.ts'
import { statusText } from './texts.ts'

/** Is what was set up in force? */
export async function status(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, warn } = context
  const host = readHost(machine)
  const journal = readJournal(host.files)
  const claims = claimsOf(journal)
  const last = claims.at(-1)?.entry.entry.adapters
  const generator = generatorOf(claims)
  const list = async (argv: readonly string[]): Promise<string | null> => {
    const { code, stdout } = await runCommand(argv, { root: '/' })
    return code === 0 ? stdout : null
  }
  const log = machine.running ? await list(['dmesg']) : null
  const found = await bindStatus({
    host,
    devices: readPciFacts(machine, warn).devices,
    journal,
    boot: bootOf(context),
    bootloader: adapters.bootloaders.find(({ name }) => name === last?.bootloader),
    initramfs: adapters.initramfs.find(({ name }) => name === generator),
    list: (argv) => (machine.running ? list(argv) : Promise.resolve(null)),
    log,
  })
  const json: BindVfio = {
    ...answerJson(
      context.script,
      'status',
      { changes: [], settings: [], notes: [], rebootNeeded: found.state === 'reboot-needed' },
      found.functions,
      found.findings,
    ),
    state: found.state,
  }
  return { code: found.state === 'bound' ? 0 : 1, json, text: (look) => statusText(look, context.script.name, found) }
}
