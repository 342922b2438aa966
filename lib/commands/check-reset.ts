import { type CardReset, isBadReset, judgeResets, readResetFacts } from '../bind/reset.ts'
import { messageInterrupts, readPower } from '../host/config-space.ts'
import { readKernelLog } from '../host/kernel-log.ts'
import { withMore } from '../host/later.ts'
import { readPciFacts } from '../host/machine.ts'
import { cardOf } from '../host/pci.ts'
import { formatFrom, type Option } from '../terminal/options.ts'
import { addressFormatter } from '../views/devices.ts'
import { type FunctionReset, resetGuide, resetText } from '../views/resets.ts'
import { CAPTURE_OPTION, FILTER_OPTIONS, filterDevices, filterFrom, selectedGroups } from './filter.ts'
import type { Answer, Context } from './run-script.ts'

/** The value that `check-reset --json` prints. */
export interface CheckReset {
  schema: 'vfio-scripts/check-reset/1'
  /** Is the vendor-reset module loaded? */
  vendorReset: boolean
  /** Was the kernel log read? Without it, whether a reset failed already is not known. */
  log: boolean
  cards: (Omit<CardReset, 'functions'> & { functions: FunctionReset[] })[]
}

export const RESET_OPTIONS: readonly Option[] = [
  ...FILTER_OPTIONS,
  { name: 'format', kind: 'value', choices: ['table', 'guide'], help: 'how to print (default table)' },
  CAPTURE_OPTION,
]

/** Answers check-reset: each card's verdict, and the evidence for it. */
export function answerCheckReset({ arguments: given, machine, warn }: Context): Answer {
  const filter = filterFrom(given)
  const format = formatFrom(given)
  const facts = readPciFacts(machine, warn)
  const selected = filterDevices(facts.devices, filter, warn)
  const { log, logMissing } = readKernelLog(machine)
  const wanted = new Set(selected.map(cardOf))
  const functions = facts.devices.filter((device) => !device.bridge && wanted.has(cardOf(device)))
  // Before their configuration space is read, which wakes them.
  const power = new Map(functions.map((device) => [device.address, readPower(machine.reader, device)]))
  const known = readResetFacts(machine.reader, facts.devices, selected, log)
  const cards = judgeResets(facts.devices, selected, known, filter.devices.length > 0).map((card) => ({
    ...card,
    functions: card.functions.map((device) =>
      withMore(device, {
        ...(power.get(device.address) ?? readPower(machine.reader, device)),
        ...messageInterrupts(machine.reader, known.configs.get(device.address)),
      }),
    ),
  }))
  if (log === null && cards.length > 0) warn(`whether a reset failed already is not known: ${logMissing}`)
  const bad = cards.some(isBadReset)
  const { vendorReset } = known
  const json: CheckReset = { schema: 'vfio-scripts/check-reset/1', vendorReset, log: log !== null, cards }
  const style = addressFormatter(facts.devices, false)
  return {
    code: bad || cards.length === 0 ? 1 : 0,
    json,
    text: (look) =>
      format === 'guide' ? resetGuide(selectedGroups(facts.groups, selected), style) : resetText(look, cards, style),
  }
}
