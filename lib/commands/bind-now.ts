import { changesNow, nestedNotes, withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { readDriver } from '../change/driver.ts'
import { type JournalRecord, readJournal } from '../change/journal.ts'
import { type EntryFacts, LIVE_JOURNAL } from '../change/journal-entry.ts'
import type { DriverChange } from '../change/plan.ts'
import { guardFindings } from '../checks/guards.ts'
import { guardInterfaces, guardOpen } from '../checks/in-use.ts'
import { guardRunner } from '../checks/judged.ts'
import { UserError } from '../core/error.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { liveView } from '../views/answers.ts'
import { refuse, requestedAddresses, requestedDevices, toBoundFunction } from './answer.ts'
import { changeSystem, type Proposal } from './change-cycle.ts'
import type { Answer, Context } from './run-script.ts'

/** `--now`: drivers change at once, without a boot, and only until the next one. */
export function answerNow(context: Context): Promise<Answer> {
  const { arguments: given, machine } = context
  if (!machine.running) throw new UserError('usage', '--now changes the running system: leave --root and --machine out')
  const propose = (): Proposal => (given.flag('undo') ? proposeRelease(context) : proposeNow(context))
  return changeSystem(context, 'binding', propose, given.flag('apply'), LIVE_JOURNAL)
}

/** All functions of the groups go to vfio-pci, or none does. */
function proposeNow(context: Context): Proposal {
  const { machine, warn, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  if (pci.iommu.enabled === false) throw new UserError('iommu-off', `the IOMMU is off: ${pci.iommu.reason}`)
  const requested = requestedDevices(pci, given)
  const selected = withGroupMates(pci.devices, requested)
  const usage = readDeviceUsage(machine.reader, machine.files, selected)
  const findings = [
    ...guardFindings(pci.devices, selected, requested, usage, pci.groups, guardRunner([machine.reader, machine.files])),
    guardInterfaces(usage),
  ]
  refuse(findings, given)
  const groups = [...new Set(selected.map(({ group }) => group))].filter((group) => group !== null)
  const notes = [...nestedNotes(selected), ...groups.map((group) => `The guest gets it as /dev/vfio/${group}.`)]
  const functions = withoutNested(selected)
    .filter(({ driver }) => driver !== 'vfio-pci')
    .map((one) => toBoundFunction(one, pci.devices))
  return driverProposal(context, changesNow(selected), notes, { functions })
}

/** Gives functions back to the drivers that had them. */
function proposeRelease(context: Context): Proposal {
  const { arguments: given, machine, script } = context
  const entries = liveEntries(readJournal(openReader(machine.files.root), LIVE_JOURNAL))
  const functions = entries.flatMap(({ entry }) => entry.functions)
  const named = requestedAddresses(functions, given, script.name)
  const leaving = functions.filter(({ address }) => named.includes(address))
  const changes = leaving
    .map(
      ({ address, driver }): DriverChange => ({
        kind: 'driver',
        address,
        before: readDriver(address),
        after: driver,
        reason: 'as it was before',
      }),
    )
    .filter(({ before, after }) => before !== after)
  const pci = readPciFacts(machine, context.warn)
  const selected = pci.devices.filter(({ address }) => changes.some((change) => change.address === address))
  refuse([guardOpen(readDeviceUsage(machine.reader, machine.files, selected))], given)
  const undoes = entries.map(({ number }) => number)
  return driverProposal(context, changes, [], { functions: leaving, undoes, undone: named })
}

function driverProposal(
  { machine, script }: Context,
  changes: DriverChange[],
  notes: string[],
  entry: Pick<EntryFacts, 'functions'> & Partial<EntryFacts>,
): Proposal {
  return {
    ...{ plan: { changes, settings: [], notes, rebootNeeded: false }, host: machine, journal: [] },
    ...{ devices: entry.functions, findings: [], entry },
    view: liveView(script, (entry.undoes ?? []).length > 0),
  }
}

/** What was bound live in this boot and not released: with the functions that are still out. */
function liveEntries(journal: readonly JournalRecord[]): JournalRecord[] {
  const done = journal.filter(({ state }) => state === 'done')
  return done
    .filter(({ entry }) => entry.undoes.length === 0)
    .map((one) => {
      const back = done.filter(({ entry }) => entry.undoes.includes(one.number)).flatMap(({ entry }) => entry.undone)
      const functions = one.entry.functions.filter(({ address }) => !back.includes(address))
      return { ...one, entry: { ...one.entry, functions } }
    })
    .filter(({ entry }) => entry.functions.length > 0)
}
