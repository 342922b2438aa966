import { boundFunctions } from '../bind/claimed-requirements.ts'
import { claimsOf } from '../change/journal.ts'
import { runCommand } from '../change/run.ts'
import { checksFor, runChecksAsync } from '../checks/check.ts'
import { type CheckFacts, readCheckFacts } from '../checks/check-facts.ts'
import { guestTuningFindings } from '../checks/guest-tuning.ts'
import { GUARDS, HOST_CHECKS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { type Finding, toFinding, unknownResult } from '../core/finding.ts'
import { readRunningGuest } from '../guest/libvirt/running-guest.ts'
import { onDemand, type Readers, withDenials } from '../host/denied.ts'
import { readDriverModules } from '../host/driver-modules.ts'
import { readHypervisor } from '../host/hypervisor.ts'
import { readKernels } from '../host/installed-kernels.ts'
import { readPciFacts } from '../host/machine.ts'
import { readNamedFile } from '../host/named-file.ts'
import type { PciDevice } from '../host/pci.ts'
import { readSystemFacts } from '../system/read-system.ts'
import type { Adapters, Host } from '../system/system.ts'
import type { Option } from '../terminal/options.ts'
import { paint, printable, type TerminalStyle } from '../terminal/text.ts'
import { findingsText } from '../views/changes.ts'
import { findRequestedDevices } from './answer.ts'
import { askKernelLog } from './ask-kernel-log.ts'
import { answerDumpRom } from './dump-rom.ts'
import { type Explained, explainMessages, recogniseAsked, recognisedAddresses } from './explain.ts'
import { imageReader } from './predict-answer.ts'
import { bootSystem, foreseeBoots } from './predict-boots.ts'
import type { Answer, Context } from './run-script.ts'
import { readBindingStatus } from './status.ts'

/** The value that `check-host --json` prints. */
export interface CheckHost {
  schema: 'vfio-scripts/check-host/1'
  /** Is no finding a problem? */
  healthy: boolean
  /** The devices that `--device` named. */
  devices: readonly PciDevice[]
  findings: Finding[]
  /** What the messages mean that `--explain` was asked for. */
  explained?: Explained[]
}

export const CHECK_OPTIONS: readonly Option[] = [
  {
    name: 'device',
    kind: 'list',
    value: 'DEVICE',
    help: 'ready to be bound, or bound as planned? (01:00, 10de:1cb6 …)',
  },
  {
    name: 'guest',
    kind: 'value',
    value: 'NAME',
    help: 'has this running guest what it asks for? CPUs, huge pages, devices; seen from outside',
  },
  { name: 'rom', kind: 'value', value: 'FILE', help: 'with --device: is this ROM file fit for a guest?' },
  {
    name: 'dump-rom',
    kind: 'value',
    value: 'FILE',
    help: 'with --device: read its ROM into this new file; shown first, done with --apply',
  },
  { name: 'apply', kind: 'flag', help: 'with --dump-rom: do it' },
  {
    name: 'explain',
    kind: 'value',
    value: 'MESSAGE',
    help: "what a message means, and what of it is so here; logs: those of the kernel's and the guests' logs",
  },
  { name: 'all', kind: 'flag', help: 'show what is well, too' },
  {
    name: 'capture',
    kind: 'value',
    value: 'DIR',
    help: 'write a copy of all that was read, for --machine or a report',
  },
]

/** Answers whether this host is ready for guests with devices, or with `--device` for this one. */
export async function answerCheckHost(context: Context, adapters: Adapters): Promise<Answer> {
  const { machine, warn, script, arguments: given } = context
  if (given.value('guest') !== undefined) return answerGuest(context)
  const file = given.value('rom')
  const dump = given.value('dump-rom') !== undefined
  for (const name of ['rom', 'dump-rom'])
    if (given.value(name) !== undefined && given.list('device').length === 0)
      throw new UserError('usage', `--${name} goes with --device`)
  if (given.flag('apply') && !dump)
    throw new UserError('usage', '--apply goes with --dump-rom: nothing else is changed')
  if (dump) return answerDumpRom(context)
  const { files, reader, running } = machine
  // The machine's own reader is used, since a capture consists of what was read.
  const readers = [files, reader]
  const host: Host = onDemand(readers, {
    files: () => files,
    machine: () => reader,
    running: () => running,
    kernels: () => readKernels(files),
  })
  const ask = async (argv: readonly string[]): Promise<string | null> => {
    if (!machine.running) return null
    const { code, stdout } = await runCommand(argv, { root: '/', seconds: 10 })
    return code === 0 ? stdout : null
  }
  const system = readSystemFacts(host, adapters, {
    bootloader: undefined,
    initramfs: undefined,
  })
  const data = file === undefined ? null : readNamedFile(file, ROM_SIZE)
  const kernel = await askKernelLog(machine)
  const recognised = recogniseAsked(given.value('explain'), kernel.log, files)
  const facts: CheckFacts = readCheckFacts(
    system,
    () => readPciFacts(machine, warn),
    (pci) => findRequestedDevices(pci, [...given.list('device'), ...recognisedAddresses(recognised, pci.devices)]),
    {
      ...kernel,
      foreseen: () => foreseeBoots(bootSystem(system, facts.pci, adapters), facts.pci, imageReader(files)),
      version: async (path) => (await ask([path, '--version']))?.split('\n')[0] ?? null,
      romFile: file === undefined || data === null ? null : { path: file, data },
    },
  )
  // A capture must be enough for gen-domain and for a prediction as well.
  if (given.value('capture') !== undefined)
    withDenials(readers, () => [readHypervisor(files, reader), readDriverModules(reader, facts.pci.devices)])
  const { requested } = facts
  const found = [
    ...(await runChecksAsync(checksFor(HOST_CHECKS, 'host'), facts, readers)),
    ...(requested.length === 0 ? [] : await deviceFindings(context, adapters, facts, readers)),
  ]
  const told = recognised === undefined ? undefined : explainMessages(recognised, found, requested)
  const findings = told?.findings ?? found
  const healthy = findings.every(({ state }) => state !== 'problem')
  const json: CheckHost = { schema: 'vfio-scripts/check-host/1', healthy, devices: requested, findings }
  if (told !== undefined) {
    json.explained = told.explained
    return { code: healthy ? 0 : 1, json, text: told.text }
  }
  const all = given.flag('all') || requested.length > 0
  return { code: healthy ? 0 : 1, json, text: (style) => checkText(style, script.name, findings, all) }
}

/** Answers whether a running guest has what it asks for. */
function answerGuest({ machine, script, arguments: given }: Context): Answer {
  const other = ['device', 'rom', 'explain', 'capture'].find((name) => given.list(name).length > 0)
  if (other !== undefined) throw new UserError('usage', `--guest and --${other}: ask for one after the other`)
  const { files, reader } = machine
  const guest = readRunningGuest(reader, given.value('guest') ?? '')
  const findings = guestTuningFindings(guest, reader, [files, reader])
  const healthy = findings.every(({ state }) => state !== 'problem')
  const json: CheckHost = { schema: 'vfio-scripts/check-host/1', healthy, devices: [], findings }
  return { code: healthy ? 0 : 1, json, text: (style) => checkText(style, script.name, findings, true) }
}

const ROM_SIZE = 16 * 1024 * 1024

/** Returns what speaks against binding the devices or, once they are bound, whether all is as it was promised. */
async function deviceFindings(
  context: Context,
  adapters: Adapters,
  facts: CheckFacts,
  readers: Readers,
): Promise<Finding[]> {
  const checks = await runChecksAsync(checksFor(HOST_CHECKS, 'device'), facts, readers)
  const bound = boundFunctions(claimsOf(facts.journal)).map(({ address }) => address)
  if (facts.requested.every(({ address }) => bound.includes(address)))
    return [...checks, ...(await readBindingStatus(context, adapters, facts.host)).findings]
  const { denied } = withDenials(readers, () => facts.journal)
  const unread = unknownResult('It is not known whether it is bound by these scripts', denied, 'run as root to see it')
  if (denied.length > 0) checks.push(toFinding({ code: 'binding' }, unread))
  return [...checks, ...(await runChecksAsync(checksFor(GUARDS, 'taking'), facts, readers))]
}

/** Returns the findings as text: problems, then what could not be seen, then what is well, as one line or all of it. */
function checkText(style: TerminalStyle, script: string, findings: readonly Finding[], all: boolean): string {
  const by = (state: Finding['state']): Finding[] => findings.filter((one) => one.state === state)
  const [problems, open, well] = [by('problem'), by('unknown'), by('ok')]
  const verdict =
    problems.length === 0
      ? paint(style, 'green', 'no problem')
      : paint(style, 'red', `${problems.length} problem${problems.length === 1 ? '' : 's'}`)
  const counts = [`${open.length} not known`, `${well.length} well`].join(', ')
  const rest = all
    ? findingsText(style, well)
    : `  ${printable(`${well.length} checks found nothing wrong; --all shows them.`)}\n`
  return `${paint(style, 'bold', script)}: ${verdict} (${counts})\n${findingsText(style, [...problems, ...open])}${rest}`
}
