import { boundFunctions } from '../bind/claimed-requirements.ts'
import { changesNow, nestedNotes, withGroupMates, withoutNested } from '../bind/plan-binding.ts'
import { applyPlan } from '../change/apply.ts'
import { driverSetting, readDriver } from '../change/driver.ts'
import { claimsOf, readJournal } from '../change/journal.ts'
import { LIVE_JOURNAL } from '../change/journal-entry.ts'
import { withLock } from '../change/lock.ts'
import type { DriverChange, Plan } from '../change/plan.ts'
import { checksFor, runChecks } from '../checks/check.ts'
import { GUARDS } from '../checks/registry.ts'
import { UserError } from '../core/error.ts'
import { readPciFacts } from '../host/machine.ts'
import { openReader } from '../host/sysroot.ts'
import { readDeviceUsage } from '../host/usage.ts'
import { liveText } from '../views/answers.ts'
import {
  answerJson,
  appliedJson,
  journalEntryFacts,
  refuse,
  requestedAddresses,
  requestedDevices,
  toBoundFunction,
} from './answer.ts'
import type { Answer, Context } from './run-script.ts'
import { targetFor } from './target.ts'

/** `--now`: drivers change at once, without a boot, and only until the next one. */
export function answerLive(context: Context): Promise<Answer> {
  const { arguments: given, machine } = context
  if (!machine.running) throw new UserError('usage', '--now changes the running system: leave --root and --machine out')
  const work = (): Promise<Answer> => (given.flag('undo') ? releaseNow(context) : bindNow(context))
  return given.flag('apply') ? withLock(targetFor(context, LIVE_JOURNAL), openReader('/'), work) : work()
}

/** All functions of the groups go to vfio-pci, or none does. */
async function bindNow(context: Context): Promise<Answer> {
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
  const notes = [...nestedNotes(selected), ...groups.map((group) => `The guest gets it as /dev/vfio/${group}.`)]
  const functions = withoutNested(selected)
    .filter(({ driver }) => driver !== 'vfio-pci')
    .map((one) => toBoundFunction(one, pci.devices))
  const settings = changes.map(driverSetting)
  return applyNow(context, { changes, settings, notes, rebootNeeded: false }, functions, { undoes: [], undone: [] })
}

/** Gives functions back to the drivers that had them. */
async function releaseNow(context: Context): Promise<Answer> {
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
  return applyNow(context, plan, leaving, { undoes, undone: named })
}

async function applyNow(
  context: Context,
  plan: Plan,
  functions: ReturnType<typeof toBoundFunction>[],
  undo: { undoes: number[]; undone: string[] },
): Promise<Answer> {
  const { script, arguments: given } = context
  const json = answerJson(context.script, 'plan', plan, functions, [])
  const view = { script, json, releasing: undo.undoes.length > 0, applied: false }
  if (!given.flag('apply') || plan.changes.length === 0)
    return { code: plan.changes.length > 0 ? 1 : 0, json, text: (style) => liveText(style, view) }
  const entry = { ...journalEntryFacts(context, plan, functions, { bootloader: null, initramfs: null }), ...undo }
  await applyPlan(targetFor(context, LIVE_JOURNAL), entry, async () => [])
  return {
    code: 0,
    json: appliedJson(json, []),
    text: (look) => liveText(look, { ...view, applied: true }),
  }
}
