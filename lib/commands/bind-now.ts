import { boundFunctions } from '../bind/claimed-requirements.ts'
import { changesNow, nestedNotes, withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { driverSetting, readDriver } from '../change/driver.ts'
import { claimsOf, readJournal } from '../change/journal.ts'
import { type EntryFacts, LIVE_JOURNAL } from '../change/journal-entry.ts'
import type { DriverChange, Plan } from '../change/plan.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { GUARDS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { readVfioInterfaces } from '../host/kernel.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { liveView } from '../views/answers.ts'
import { refuse, requestedAddresses, requestedDevices, toBoundFunction } from './answer.ts'
import { changeSystem } from './change-cycle.ts'
import type { Proposal } from './proposal.ts'
import type { Answer, Context } from './run-script.ts'

/** Answers `--now`: drivers change at once, until the next boot. Throws a UserError: `usage`, or a guard's code. */
export function answerNow(context: Context): Promise<Answer> {
  const { arguments: given, machine } = context
  if (!machine.running) throw new UserError('usage', '--now changes the running system: leave --root and --machine out')
  const propose = (): Proposal => (given.flag('undo') ? proposeRelease(context) : proposeNow(context))
  return changeSystem(context, 'binding', propose, given.flag('apply'), LIVE_JOURNAL)
}

/** Proposes to bind all functions of the groups to vfio-pci, or none. */
function proposeNow(context: Context): Proposal {
  const { machine, warn, arguments: given } = context
  const pci = readPciFacts(machine, warn)
  if (pci.iommu.enabled === false) throw new UserError('iommu-off', `the IOMMU is off: ${pci.iommu.reason}`)
  const requested = requestedDevices(pci, given)
  const selected = withGroupMates(pci.devices, requested)
  const usage = readDeviceUsage(machine.reader, machine.files, selected)
  const guards = [...checksFor(GUARDS, 'taking'), ...checksFor(GUARDS, 'taking-now')]
  const guarded = { pci, requested, selected, given: selected, usage }
  refuse(runChecks(guards, guarded, [machine.reader, machine.files], true), given)
  const changes = changesNow(selected)
  const groups = [...new Set(selected.map(({ group }) => group))].filter((group) => group !== null)
  const byGroup = groups.map((group) => `The guest gets it as /dev/vfio/${group}.`)
  // Their numbers are known only when vfio-pci has them.
  const byDevice = ['The guest gets it by a node in /dev/vfio/devices: this kernel has no VFIO groups.']
  const notes = [
    ...nestedNotes(selected),
    ...(readVfioInterfaces(machine.reader).groups === false ? byDevice : byGroup),
  ]
  const functions = withoutNested(selected)
    .filter(({ driver }) => driver !== 'vfio-pci')
    .map((one) => toBoundFunction(one, pci.devices))
  const plan: Plan = { changes, settings: changes.map(driverSetting), notes, rebootNeeded: false }
  return driverProposal(context, plan, { functions })
}

/** Proposes to give functions back to the drivers that had them. */
function proposeRelease(context: Context): Proposal {
  const { arguments: given, machine, script } = context
  const claims = claimsOf(readJournal(openReader(machine.files.root), LIVE_JOURNAL))
  const functions = boundFunctions(claims)
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
  const usage = readDeviceUsage(machine.reader, machine.files, selected)
  const guarded = { pci, requested: selected, selected, given: selected, usage }
  refuse(runChecks(checksFor(GUARDS, 'releasing'), guarded, [machine.reader, machine.files], true), given)
  const plan: Plan = { changes, settings: [], notes: [], rebootNeeded: false }
  const undoes = [...new Set(claims.map(({ entry }) => entry.number))]
  return driverProposal(context, plan, { functions: leaving, undoes, undone: named })
}

function driverProposal(
  { machine, script }: Context,
  plan: Plan,
  entry: Pick<EntryFacts, 'functions'> & Partial<EntryFacts>,
): Proposal {
  return {
    ...{ plan, host: machine, journal: [], devices: entry.functions, findings: [], entry },
    view: liveView(script, (entry.undoes ?? []).length > 0),
  }
}
