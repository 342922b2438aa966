import { claimsOf, readJournal } from '../change/journal.ts'
import { runChecks } from '../checks/check.ts'
import { cutShortFindings, filesCheck } from '../checks/claim-checks.ts'
import { type Finding, okResult, problemResult, toFinding, unknownResult } from '../core/finding.ts'
import { readHandOvers } from '../hand-over/plan-hand-over.ts'
import { isAway, type LoggedStep, RECORDS, readRefusal, readSteps } from '../hand-over/read-hand-over.ts'
import { readPciFacts } from '../host/machine.ts'
import { isVfio, type PciDevice } from '../host/pci.ts'
import { readHost } from '../system/read-system.ts'
import type { ChangeStatus } from './change-cycle.ts'
import type { Context } from './run-script.ts'

/** Returns what is set up, where the devices are now, and how the last start and stop of each guest went. */
export function handOverStatus({ machine, warn }: Context): ChangeStatus {
  const host = readHost(machine)
  const { files } = host
  const journal = readJournal(files)
  const short = cutShortFindings(files, journal)
  if (short.length > 0)
    return { state: 'drifted', meaning: MEANINGS.drifted, names: [], functions: [], findings: short }
  const claims = claimsOf(journal, 'hand-over')
  const readers = [files, machine.reader]
  const promised = runChecks([filesCheck], { host, claims }, readers)
  const { devices } = readPciFacts(machine, warn)
  const known = readHandOvers(files)
  // A rehearsal is of a guest that may not be set up yet.
  const rehearsed = (machine.reader.list(RECORDS) ?? []).filter((name) => !known.some(({ guest }) => guest === name))
  const places = known.map(({ guest, functions }) =>
    placeFinding(guest, functions, devices, isAway(machine.reader, guest)),
  )
  const last = [...known.map(({ guest }) => guest), ...rehearsed].map((guest) =>
    lastFinding(guest, readSteps(machine.reader, guest), readRefusal(machine.reader, guest)),
  )
  const findings = [...promised, ...places, ...(host.running ? last : [])]
  const names = [...new Set(claims.map(({ owner }) => owner))]
  const problem = [...promised, ...places].some(({ state }) => state === 'problem')
  const state = claims.length === 0 ? 'none' : problem ? 'drifted' : 'in-force'
  return { state, meaning: MEANINGS[state], names, functions: [], findings }
}

const MEANINGS = { none: 'nothing is set up', drifted: 'not as planned', 'in-force': 'all is as planned' } as const

function placeFinding(
  guest: string,
  functions: readonly string[],
  devices: readonly PciDevice[],
  away: boolean,
): Finding {
  const check = { code: 'devices' }
  const found = functions.map((address) => ({ address, device: devices.find((one) => one.address === address) }))
  const evidence = found.map(({ address, device }) =>
    device === undefined ? `${address} is not on this machine` : `${address} is on ${device.driver ?? 'no driver'}`,
  )
  const held = found.filter(({ device }) => device !== undefined && isVfio(device.driver)).length
  if (found.some(({ device }) => device === undefined))
    return toFinding(check, problemResult(`${guest} has a device that is gone`, evidence, `hand-over ${guest} again`))
  if (away && held === functions.length) return toFinding(check, okResult(`${guest} has its devices now`, evidence))
  if (!away && held === 0) return toFinding(check, okResult(`the host has the devices of ${guest} now`, evidence))
  return toFinding(
    check,
    problemResult(
      away
        ? `the devices of ${guest} are on the way, or did not all come back`
        : `vfio-pci has devices of ${guest}, but no hand-over gave them`,
      evidence,
      away ? `hand-over ${guest} --return --apply` : 'bind-vfio --status says whether they are bound from the boot on',
    ),
  )
}

/** The last start and stop, with the seconds that each step took. */
function lastFinding(guest: string, steps: readonly LoggedStep[], why: string | undefined): Finding {
  const check = { code: 'last-hand-over' }
  if (steps.length === 0) return toFinding(check, unknownResult(`${guest} did not start since the boot`, []))
  const lines = steps.map(({ seconds, text }, index) => {
    const next = steps[index + 1]
    return next === undefined ? text : `${text} (${(next.seconds - seconds).toFixed(1)} s)`
  })
  if (why !== undefined)
    return toFinding(
      check,
      problemResult(`the last start of ${guest} was refused: ${why}`, lines, 'mend that, then start it again'),
    )
  return toFinding(check, okResult(`the last start and stop of ${guest}`, lines))
}
